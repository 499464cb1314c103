"""What changes weights after each step and before the next is told."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch_backend.nets import batches, loss_of, mlp

from rgo_torch import RGO
from rgo_torch.projecting import outside

MESSAGE = "changed in this task after each step by something else"
Act = Callable[[nn.Module, int], object]


def adam(model: nn.Module, **options: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), 1e-2, **options)


def of_kind(kind: type[torch.optim.Optimizer], **options: Any) -> Callable[..., Any]:
    return lambda model: kind(model.parameters(), lr=1e-2, **options)


def told(
    after: Act = lambda model, step: None,
    optimizer: Callable[[nn.Module], torch.optim.Optimizer] = adam,
    *,
    steps: int = 12,
    before: Act = lambda model, step: None,
) -> list[str]:
    """Return what is warned of where a function acts after each step of two tasks."""
    model = mlp()
    stepped = optimizer(model)
    rgo = RGO(model, stepped)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for task in range(2):
            rgo.begin_task(task)
            data = batches(seed=task)
            for step in range(1, steps + 1):
                x, y = data[step % len(data)]
                before(model, step)
                stepped.zero_grad()
                loss_of(model, x, y).backward()
                stepped.step()
                after(model, step)
            rgo.end_task(data)
    return [str(each.message) for each in found if "something else" in str(each)]


def clamp(model: nn.Module, step: int) -> None:
    for p in model.parameters():
        p.data.clamp_(-0.1, 0.1)


@torch.no_grad()
def clamp_counted(model: nn.Module, step: int) -> None:
    for p in model.parameters():
        p.clamp_(-0.1, 0.1)


@torch.no_grad()
def decay(model: nn.Module, step: int) -> None:
    model[0].weight.mul_(1 - 1e-5)


def averaged() -> Act:
    """Return what writes an average of the weights into them."""
    mean: dict[str, torch.Tensor] = {}

    def act(model: nn.Module, step: int) -> None:
        for name, value in model.state_dict().items():
            mean[name] = 0.9 * mean.get(name, value) + 0.1 * value
        model.load_state_dict(mean)

    return act


@pytest.mark.parametrize(
    ("act", "names"),
    [
        (clamp, "0.weight, 0.bias"),
        (clamp_counted, "0.weight, 0.bias"),
        (averaged(), "0.weight, 0.bias"),
        (decay, "0.weight: "),
    ],
)
def test_what_is_done_to_weights_after_each_step_is_named_once_a_task(
    act: Act, names: str
) -> None:
    (message,) = told(act)  # not of the first task, which has nothing to lose
    assert message.startswith(names)
    assert MESSAGE in message


def test_a_clamp_that_binds_late_is_told() -> None:
    assert told(lambda model, step: step > 7 and clamp(model, step))


def restored() -> Act:
    """Return what goes back to weights that were kept, at two steps and at a third."""
    kept: dict[str, Any] = {}

    def act(model: nn.Module, step: int) -> None:
        if step in (1, 4, 8):
            model.load_state_dict(kept or model.state_dict())
        elif step == 3:
            kept.update(copy.deepcopy(model.state_dict()))

    return act


@torch.no_grad()
def lent(model: nn.Module, step: int) -> None:
    """Test an average of the weights, and put them back."""
    kept = copy.deepcopy(model.state_dict())
    for p in model.parameters():
        p.zero_()
    model.load_state_dict(kept)


@torch.no_grad()
def disturbed(model: nn.Module, step: int) -> None:
    """Move the weights there and back again, which rounds them."""
    for p in model.parameters():
        noise = 0.01 * torch.randn_like(p)
        p.add_(noise).sub_(noise)


def reset(model: nn.Module, step: int) -> None:
    """Set the weights anew as the task begins, before its first step."""
    if step == 1:
        model.load_state_dict(mlp(1).state_dict())


def every_fifth(model: nn.Module, step: int) -> None:
    """Stand for a Lookahead around the optimizer, or for a server of averages."""
    if step % 5 == 0:
        clamp(model, step)


@pytest.mark.parametrize("act", [restored(), lent, disturbed, every_fifth])
def test_what_is_put_back_or_done_now_and_then_is_no_alarm(act: Act) -> None:
    assert told(act) == []


def test_weights_that_are_set_before_the_first_step_are_no_alarm() -> None:
    assert told(before=reset) == []


@pytest.mark.parametrize(
    "optimizer",
    [
        of_kind(torch.optim.AdamW, weight_decay=0.01, foreach=True),
        of_kind(torch.optim.AdamW, weight_decay=0.01, fused=True),
        of_kind(torch.optim.Adam, amsgrad=True),
        of_kind(torch.optim.RMSprop, momentum=0.9),
    ],
)
def test_what_optimizers_do_themselves_is_no_alarm(
    optimizer: Callable[[nn.Module], torch.optim.Optimizer],
) -> None:
    assert told(optimizer=optimizer) == []


def test_a_clamp_in_a_hook_that_is_there_before_rgo_is_projected() -> None:
    def with_clamp(model: nn.Module) -> torch.optim.Optimizer:
        optimizer = adam(model)
        optimizer.register_step_post_hook(lambda *given: clamp(model, 0))
        return optimizer

    largest: list[float] = []

    def measure(model: nn.Module, step: int) -> None:
        largest.append(max(float(p.detach().abs().max()) for p in model.parameters()))

    assert told(measure, with_clamp, steps=12) == []
    first, second = max(largest[:12]), max(largest[12:])
    assert first <= 0.1001 < second  # for what is projected ends elsewhere


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("act", [lambda model, step: None, decay])
def test_several_optimizers_are_told_apart(act: Act, share: bool) -> None:
    model = mlp()
    halves = [model[0], model if share else model[1:]]
    given = [torch.optim.Adam(half.parameters(), 1e-2) for half in halves]
    rgo = RGO(model, given)
    for task in range(2):
        rgo.begin_task(task)
        for step, (x, y) in enumerate(batches(seed=task) * 3):
            model.zero_grad()
            loss_of(model, x, y).backward()
            for each in given:
                each.step()
            act(model, step)
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            rgo.end_task(batches(seed=task))
    expected = [f"0.weight: {MESSAGE}"] if act is decay else []
    assert [str(each.message).partition(",")[0] for each in found] == expected


def test_steps_while_projecting_is_paused_are_no_alarm() -> None:
    model = mlp()
    optimizer = adam(model)
    rgo = RGO(model, optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            rgo.begin_task()
            for x, y in batches() * 3:
                loss_of(model, x, y).backward()
                optimizer.step()
                with rgo.projector.paused():
                    optimizer.step()
            rgo.end_task(batches())


def test_nothing_is_looked_at_while_a_graph_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outside, "_is_captured", lambda: True)
    assert told(clamp) == []
