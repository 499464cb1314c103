"""Steps that raise, and steps inside of others, where updates are projected."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch_backend.nets import (
    assert_same,
    batch,
    batches,
    loss_of,
    mlp,
    sgd,
    weights_of,
)
from torch_backend.projecting import consolidated
from torch_backend.wrapping import Outer

from rgo_torch import second_moments


def test_a_step_that_raised_leaves_the_next_ones_projected() -> None:
    model = mlp()
    parts = [model[:2], model[2:]]
    optimizers = [Outer(sgd(part)) for part in parts]
    projector = consolidated(model, optimizers, project="update")  # type: ignore[arg-type]
    inner_step, optimizers[0].inner = optimizers[0].inner, None  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        optimizers[0].step()
    optimizers[0].inner = inner_step
    x, y = batch()
    loss_of(model, x, y).backward()
    moved = []
    for pause in (False, True):
        before = weights_of(model)
        for optimizer in reversed(optimizers):
            if pause:
                with projector.paused():
                    optimizer.step()
            else:
                optimizer.step()
        moved.append({n: p - before[n] for n, p in weights_of(model).items()})
    for name, P in projector.projections.items():
        if name.endswith("weight"):
            torch.testing.assert_close(
                moved[0][name].mT, P @ moved[1][name].mT, rtol=1e-4, atol=1e-6
            )


class Stopped(Optimizer):
    """Raises as an interrupt does, after its step has changed the weights or before."""

    at: str | None = None

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        if self.at == "before":
            raise KeyboardInterrupt
        for p in self.param_groups[0]["params"]:
            if p.grad is not None:
                p.add_(p.grad, alpha=-0.1)
        if self.at == "after":
            raise KeyboardInterrupt


def stopped(optimizer: Stopped, at: str, step: Callable[[], object]) -> None:
    optimizer.at = at
    with pytest.raises(KeyboardInterrupt):
        step()
    optimizer.at = None


def with_gradients() -> tuple[nn.Module, Stopped]:
    """Return a model with gradients, and what steps it."""
    model = mlp()
    loss_of(model, *batch()).backward()
    return model, Stopped(model.parameters())


def assert_moved_as(
    model: nn.Module, before: dict[str, Tensor], steps: float = 1
) -> None:
    """Demand that a model has moved as by so many projected steps."""
    other, optimizer = with_gradients()
    consolidated(other, optimizer, project="update")
    start = weights_of(other)
    optimizer.step()
    for name, p in weights_of(other).items():
        moved = model.get_parameter(name) - before[name]
        torch.testing.assert_close(
            moved, steps * (p - start[name]), rtol=1e-4, atol=1e-6
        )


def by_data(model: nn.Module, weights: dict[str, Tensor]) -> None:
    for name, p in model.named_parameters():
        p.data.copy_(weights[name])


def by_copying(model: nn.Module, weights: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(weights[name])


def by_loading(model: nn.Module, weights: dict[str, Tensor]) -> None:
    model.load_state_dict(weights)


@pytest.mark.parametrize("ends", ["step", "paused step", "task", "detach"])
@pytest.mark.parametrize("back", [by_data, by_copying, by_loading])
@pytest.mark.parametrize("at", ["before", "after"])
def test_weights_that_are_set_back_after_a_step_that_raised_stay_so(
    at: str, back: Callable[[nn.Module, dict[str, Tensor]], None], ends: str
) -> None:
    model, optimizer = with_gradients()
    projector = consolidated(model, optimizer, project="update")
    earlier = weights_of(model)
    optimizer.step()
    stopped(optimizer, at, optimizer.step)
    back(model, earlier)
    if ends == "detach":
        projector.detach()
    elif ends == "task":
        projector.consolidate(second_moments(mlp(), batches(seed=5)), damping=0.01)
    else:
        model.zero_grad()
        with projector.paused() if ends == "paused step" else nullcontext():
            optimizer.step()
    assert_same(weights_of(model), earlier)


def test_a_step_in_the_step_of_a_class_derived_from_it_is_projected_with_it() -> None:
    class Again(Stopped):
        def step(self, closure: None = None) -> None:  # type: ignore[override]
            super().step()
            with torch.no_grad():
                for p in self.param_groups[0]["params"]:
                    p.add_(p.grad, alpha=-0.1)

    model, _ = with_gradients()
    optimizer = Again(model.parameters())
    consolidated(model, optimizer, project="update")
    before = weights_of(model)
    optimizer.step()
    assert_moved_as(model, before, 2)


def test_what_is_inside_is_projected_after_a_step_around_it_raised() -> None:
    model, inner = with_gradients()
    outer = Outer(inner)
    consolidated(model, outer, project="update")
    before = weights_of(model)
    stopped(inner, "before", outer.step)
    for _ in range(2):
        inner.step()
    assert_moved_as(model, before, 2)
    before = weights_of(model)
    outer.step()
    assert_moved_as(model, before, 0.5)


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("called", ["sub_", "add"])
def test_an_interrupt_while_an_update_is_projected_loses_nothing(
    at: int, called: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right after an operation, as PyTorch sees a signal."""
    model, optimizer = with_gradients()
    consolidated(model, optimizer, project="update")
    before, left = weights_of(model), [at]
    place: Any = torch if called == "add" else Tensor
    plain = getattr(place, called)

    def interrupted(*args: Any, **kwargs: Any) -> Tensor:
        found: Tensor = plain(*args, **kwargs)
        left[0] -= 1
        if left[0] == -1:
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as patch:
        patch.setattr(place, called, interrupted)
        with pytest.raises(KeyboardInterrupt):
            optimizer.step()
    model.zero_grad()
    optimizer.step()
    assert_moved_as(model, before)
