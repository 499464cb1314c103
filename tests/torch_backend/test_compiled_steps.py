"""What compiled layers send to their weights, and what they share."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch_backend.factors import ROWS, assert_projected, projected_model
from torch_backend.nets import (
    Batch,
    Count,
    batch,
    conv_net,
    gradients_of,
    images,
    loss_of,
    sgd,
)
from torch_backend.second_task import FOREIGN_WARNINGS
from torch_backend.tolerance import assert_near

from rgo_torch import GradientProjector, second_moments
from rgo_torch.fast.kept_whole import weight_gradient
from rgo_torch.fast.sent import Sent

pytestmark = FOREIGN_WARNINGS
tells_exporting = pytest.mark.skipif(
    not hasattr(torch.compiler, "is_exporting"),
    reason="this PyTorch does not tell exporting from compiling",
)


@pytest.fixture(autouse=True)
def whole(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """List of each weight's gradient whether it was just what had been sent."""
    found: list[bool] = []
    take = Sent.take_whole

    def watched(self: Sent, gradient: Tensor) -> bool:
        found.append(take(self, gradient))
        return found[-1]

    monkeypatch.setattr(Sent, "take_whole", watched)
    torch.compiler.reset()
    yield found
    torch.compiler.reset()


def flipped_net() -> nn.Sequential:
    """Return layers that store their weights inputs first."""
    of = pytest.importorskip("transformers.pytorch_utils").Conv1D
    torch.manual_seed(0)
    return nn.Sequential(of(40, 12), nn.ReLU(), of(30, 40), nn.ReLU(), of(4, 30))


def projector_of(model: nn.Module, data: Batch) -> GradientProjector:
    """Return what projects by what a batch shows."""
    projector = GradientProjector(model, sgd(model))
    projector.consolidate(second_moments(model, [data]), damping=0.001)
    return projector


@tells_exporting
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize(
    ("make", "data", "sent"),
    [
        (flipped_net, batch(ROWS), 2),  # the head has as many rows as outputs
        (conv_net, images(), 1),  # and the first convolution has many positions
    ],
)
def test_compiled_layers_send_factors(
    make: Callable[[], nn.Module],
    data: Batch,
    sent: int,
    backend: str,
    whole: list[bool],
) -> None:
    model = make()
    projector = projector_of(model, data)
    fast = torch.compile(model, backend=backend, fullgraph=True)
    found = gradients_of(model, lambda: loss_of(fast, *data))
    assert sum(whole) == sent
    expected = gradients_of(model, lambda: loss_of(model, *data))
    for name, gradient in expected.items():
        assert_near(found[name], gradient)
    projector.detach()


def test_what_else_reaches_a_compiled_weight_is_projected_too() -> None:
    model, projector = projected_model()
    fast = torch.compile(model, backend="aot_eager")

    def loss() -> Tensor:
        twice = loss_of(fast, *batch(ROWS)) + loss_of(fast, *batch(ROWS, seed=1))
        return twice + model[2].weight.square().sum()

    assert_projected(model, projector, loss)


def test_a_new_projection_compiles_nothing_anew() -> None:
    model, projector = projected_model()
    count = Count()
    fast = torch.compile(model, backend=count)
    for seed in range(3):
        assert_projected(model, projector, lambda: loss_of(fast, *batch(ROWS)))
        moments = second_moments(model, [batch(64, seed=seed)])
        projector.consolidate(moments, damping=0.001)
    assert count.graphs == 1


@tells_exporting
def test_layers_of_one_shape_share_what_was_compiled() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*[nn.Linear(12, 12) for _ in range(4)])
    count = Count()
    for layer in model:
        layer.compile(backend=count)
    projector = projector_of(model, batch(64))
    found = gradients_of(model, lambda: model(batch(ROWS)[0]).square().sum())
    assert len(found) == 8
    assert count.graphs <= 2  # the inputs of the first layer want no gradient
    projector.detach()


def test_a_compiled_model_that_is_detached_is_plain(whole: list[bool]) -> None:
    model, projector = projected_model()
    fast = torch.compile(model, backend="aot_eager")
    loss_of(fast, *batch(ROWS)).backward()
    projector.detach()
    whole.clear()
    found = gradients_of(model, lambda: loss_of(fast, *batch(ROWS)))
    expected = gradients_of(model, lambda: loss_of(model, *batch(ROWS)))
    for name, gradient in expected.items():
        assert_near(found[name], gradient)
    assert not whole


def test_a_gradient_that_no_one_forms_any_more_is_refused() -> None:
    rows, weight = torch.zeros(ROWS, 40), torch.zeros(40, 40)
    with pytest.raises(RuntimeError, match="detached before its backward pass"):
        weight_gradient(rows, rows, weight, torch.tensor(-1))


def test_outside_of_a_backward_pass_nothing_is_sent() -> None:
    """As where a compiled backward pass takes no callback."""
    model, _ = projected_model()
    inputs, gradients = torch.randn(ROWS, 40), torch.randn(ROWS, 40)
    forward = model[2].__dict__["forward"]
    found = forward.weight_gradient(inputs, gradients)
    assert_near(found, gradients.mT @ inputs)
    assert not forward.sent.parts


def test_an_exported_model_has_no_operation_of_ours() -> None:
    model, _ = projected_model()
    graph = torch.export.export(model, (batch(ROWS)[0],)).graph
    names = [str(node.target) for node in graph.nodes]
    assert any("linear" in name for name in names)
    assert not any("rgo" in name for name in names)
