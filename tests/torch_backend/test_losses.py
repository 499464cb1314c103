"""Losses beside cross-entropy: targets, their curvature, and what they protect."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch_backend.nets import batch, mlp, sgd
from torch_backend.tolerance import assert_near

from rgo_torch import RGO, Relative, second_moments
from rgo_torch.modules.trees import leaves_of

LOSSES = {
    "binary": functional.binary_cross_entropy_with_logits,
    "squared-error": functional.mse_loss,
}
STEPS = {"binary": 1000, "squared-error": 200}  # the first learns more slowly


def pairs(outputs: int, count: int = 3) -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(0)
    return [
        (x := batch(seed=seed)[0], torch.rand(len(x), outputs)) for seed in range(count)
    ]


@pytest.mark.parametrize("loss", list(LOSSES))
def test_the_moment_of_the_last_bias_is_the_sum_of_the_loss_s_hessians(
    loss: Any,
) -> None:
    model = mlp().double()
    data = [(x.double(), y.double()) for x, y in pairs(4)]
    found = second_moments(model, data, loss=loss)["4.bias"].matrix
    expected = torch.zeros(4, 4, dtype=torch.float64)
    for x, y in data:
        for output, target in zip(model(x).detach(), y, strict=True):
            twice = torch.autograd.functional.hessian(
                lambda z, t=target: LOSSES[loss](z, t, reduction="sum"), output
            )
            expected += twice / (2 if loss == "squared-error" else 1)
    assert_near(found, expected)


@pytest.mark.parametrize("loss", list(LOSSES))
def test_outputs_out_of_play_and_one_without_an_axis(loss: Any) -> None:
    model, data = mlp(), pairs(4)
    mask = torch.tensor([True, False, False, True])
    found = second_moments(model, data, loss=loss, mask=mask)["4.bias"].matrix
    assert torch.equal(found.diagonal() > 0, mask)
    one = nn.Sequential(nn.Linear(data[0][0].shape[1], 1), nn.Flatten(0))
    flat = second_moments(one, [(x, y[:, 0]) for x, y in data], loss=loss)
    axis = second_moments(one[0], [(x, y[:, :1]) for x, y in data], loss=loss)
    assert torch.equal(flat["0.weight"].matrix, axis["weight"].matrix)
    assert flat["0.weight"].count == axis["weight"].count


class Entries(TorchDispatchMode):
    """Counts the entries of all tensors that operations give out."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        returned = operation(*args, **(kwargs or {}))
        self.count += sum(x.numel() for x in leaves_of(returned) if torch.is_tensor(x))
        return returned


@pytest.mark.parametrize("loss", list(LOSSES))
def test_a_loss_costs_no_more_than_the_scores_of_its_outputs_by_hand(loss: Any) -> None:
    model, data = nn.Sequential(mlp(), nn.Linear(4, 64)), pairs(64)
    with Entries() as by_hand:
        second_moments(model, data, score=lambda model, batch: model(batch[0]).T)
    with Entries() as entries:
        second_moments(model, data, loss=loss)
    assert entries.count < 1.5 * by_hand.count


def test_what_does_not_fit_a_loss_is_refused() -> None:
    model, data = mlp(), pairs(4)
    message = r"expects targets of the outputs' shape \(\d+, 4\), got \(\d+, 3\)"
    with pytest.raises(ValueError, match="loss='binary' " + message):
        second_moments(model, pairs(3), loss="binary")
    message = r"expects outputs of shape \(b, c\) or \(b,\), got \(4, 3, 1\): have the"
    axes = [(torch.ones(4, 3, 12), torch.ones(4, 3, 1))]
    with pytest.raises(ValueError, match=message):
        second_moments(nn.Linear(12, 1), axes, loss="binary")
    with pytest.raises(ValueError, match=r"loss must be 'cross-entropy' or .* 'hinge'"):
        second_moments(model, data, loss="hinge")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected score or loss, got both, loss='bin"):
        second_moments(model, data, loss="binary", score=lambda m, b: m(b[0]).sum(-1))


def loss_after_another_task(loss: Any, *, protect: bool) -> tuple[float, float]:
    """Return a task's loss when it was learned, and after another one."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 3))
    optimizer = sgd(model, lr=0.1)
    rgo = RGO(model, optimizer, damping=Relative(0.03), encode=protect, seed=0)
    tasks = []
    for task in range(2):
        x = torch.randn(64, 20)
        y = (functional.linear(x, torch.randn(3, 20)) > 0).float()
        tasks.append((x, y))
        rgo.begin_task(task)
        for _ in range(STEPS[loss]):
            optimizer.zero_grad()
            with nullcontext() if protect else rgo.projector.paused():
                LOSSES[loss](model(x), y).backward()
            optimizer.step()
        rgo.end_task([(x, y)], loss=loss)
        if task == 0:
            learned = LOSSES[loss](model(x), y).item()
    with rgo.task(0):
        x, y = tasks[0]
        return learned, LOSSES[loss](model(x), y).item()


@pytest.mark.parametrize("loss", list(LOSSES))
def test_an_earlier_task_of_the_loss_is_kept(loss: Any) -> None:
    learned, kept = loss_after_another_task(loss, protect=True)
    again, lost = loss_after_another_task(loss, protect=False)
    assert learned == again
    assert kept - learned < 0.5 * (lost - learned)


def test_a_score_is_a_tensor() -> None:
    message = r"a score must be a tensor of shape \(b,\) or \(k, b\), got a list"
    with pytest.raises(TypeError, match=message):
        second_moments(mlp(), [batch()], score=lambda model, b: [model(b[0])])  # type: ignore[arg-type, return-value]
