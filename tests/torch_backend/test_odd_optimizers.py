"""Optimizers from elsewhere: those that rescale, wrap others, or average weights."""

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch_backend.nets import (
    Count,
    assert_same,
    batch,
    batches,
    loss_of,
    mlp,
    sgd,
    weights_of,
)
from torch_backend.projecting import consolidated

from rgo_torch import RGO, GradientProjector, second_moments


class Signs(Optimizer):
    """Steps by signs, as Lion does."""

    def __init__(self, parameters: Any, lr: float = 0.01) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(p.grad.sign(), alpha=group["lr"])


class Outer(Optimizer):
    """Steps the optimizer inside, and goes back half the way: a Lookahead."""

    def __init__(self, inner: Optimizer) -> None:
        self.inner = inner
        super().__init__(inner.param_groups, {})
        self.param_groups = inner.param_groups

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        parameters = [p for group in self.param_groups for p in group["params"]]
        slow = [p.clone() for p in parameters]
        self.inner.step()
        for p, before in zip(parameters, slow, strict=True):
            p.lerp_(before, 0.5)


class Sharpness(Outer):
    """Climbs, and steps the optimizer inside from there; never stepped itself: SAM."""

    @torch.no_grad()
    def climb(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p] = p.clone()
                p.add_(p.grad, alpha=0.05)

    @torch.no_grad()
    def descend(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p.copy_(self.state.pop(p))
        self.inner.step()


class Shrinking(Outer):
    """Steps the optimizer inside, and makes weights smaller by itself."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        self.inner.step()
        for group in self.param_groups:
            for p in group["params"]:
                p.mul_(0.9)


def of_signs(model: nn.Module) -> Optimizer:
    return Signs(model.parameters())


def of_outer(model: nn.Module) -> Optimizer:
    return Outer(Signs(model.parameters()))


def of_shrinking(model: nn.Module) -> Optimizer:
    return Shrinking(Signs(model.parameters()))


def train(model: nn.Module, optimizer: Optimizer) -> None:
    for x, y in batches(4):
        for act in (
            [optimizer.climb, optimizer.descend]
            if isinstance(optimizer, Sharpness)
            else [optimizer.step]
        ):
            optimizer.zero_grad()
            loss_of(model, x, y).backward()
            act()


def moved_along_old_inputs(model: nn.Module, optimizer: Optimizer) -> float:
    """Return how much of a first layer's training after a task lies along its inputs.

    RGO projects as it does where nobody says how.
    """
    rgo = RGO(model, optimizer, encode=False, damping=1e-9)
    rgo.begin_task()
    old = batches(1, 4)
    rgo.end_task(old)
    rgo.begin_task()
    before = weights_of(model)["0.weight"]
    train(model, optimizer)
    moved = model[0].weight.detach() - before
    assert moved.any()
    return float((old[0][0] @ moved.mT).norm() / (old[0][0].norm() * moved.norm()))


@pytest.mark.parametrize("make", [of_signs, of_outer, of_shrinking])
def test_of_an_optimizer_that_is_not_known_the_update_is_projected(
    make: Callable[[nn.Module], Optimizer],
) -> None:
    model = mlp()
    assert moved_along_old_inputs(model, make(model)) < 1e-3
    model = mlp()
    rgo = RGO(model, optimizer := make(model))
    assert rgo.projector.project == "update"
    kind = type(optimizer).__name__
    assert f"not the gradient: {kind} may rescale gradients" in rgo.summary()
    rgo.detach()
    assert RGO(model, optimizer, project="gradient").projector.project == "gradient"


@pytest.mark.parametrize("kind", [Outer, Sharpness])
@pytest.mark.parametrize("inner", [SGD, Adam])
def test_what_wraps_another_is_projected_as_that_is(
    kind: type[Outer], inner: type[Optimizer]
) -> None:
    model = mlp()
    optimizer = kind(inner(model.parameters(), lr=0.01))
    project = "gradient" if inner is SGD else "update"
    assert moved_along_old_inputs(model, optimizer) < 1e-3
    model = mlp()
    rgo = RGO(model, kind(inner(model.parameters(), lr=0.01)))
    assert rgo.projector.project == project


def test_an_update_is_projected_once_however_many_optimizers_step() -> None:
    found = []
    for wrapped in (False, True):
        model = mlp()
        inner = sgd(model)
        optimizer = Outer(inner) if wrapped else inner
        consolidated(model, optimizer, project="update")
        x, y = batch()
        loss_of(model, x, y).backward()
        before = weights_of(model)
        optimizer.step()
        after = weights_of(model)
        # The outer one goes half of the way.
        found.append({n: (after[n] - before[n]) * (1 + wrapped) for n in after})
    for name, plain in found[0].items():
        torch.testing.assert_close(found[1][name], plain, rtol=1e-4, atol=1e-7)


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


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method.:DeprecationWarning")
def test_a_compiled_step_is_projected_as_a_plain_one_and_compiled_once() -> None:
    torch.compiler.reset()
    found, count, graphs = [], Count(), list[int]()
    for is_compiled in (False, True):
        model = mlp()
        optimizer = Adam(model.parameters())
        consolidated(model, optimizer, project="update")
        step = optimizer.step
        if is_compiled:
            step = torch.compile(step, backend=count)
        for x, y in batches(4):
            optimizer.zero_grad()
            loss_of(model, x, y).backward()
            step()
            graphs.append(count.graphs)
        found.append(weights_of(model))
    for name, plain in found[0].items():
        torch.testing.assert_close(found[1][name], plain)
    assert graphs[-1] == graphs[-3]
    torch.compiler.reset()


def test_a_wrapper_without_hooks_is_known_by_what_it_wraps() -> None:
    class Plain:
        def __init__(self, inner: Optimizer) -> None:
            self.inner, self.param_groups = inner, inner.param_groups

        def step(self) -> None:
            self.inner.step()

    model = mlp()
    rgo = RGO(model, Plain(sgd(model)))  # type: ignore[arg-type]
    assert rgo.projector.project == "gradient"
    rgo.detach()
    with pytest.raises(TypeError, match="got a Plain; give RGO the optimizer that it"):
        RGO(model, Plain(Adam(model.parameters())))  # type: ignore[arg-type]
    RGO(model, sgd(model)).detach()


@pytest.mark.parametrize("outside", [False, True])
def test_a_schedule_free_optimizer_is_refused(outside: bool) -> None:
    model = mlp()
    optimizer: Any = sgd(model)
    if outside:
        optimizer.train_mode = False
    else:
        optimizer.param_groups[0]["train_mode"] = True
    for project in ("gradient", "update"):
        with pytest.raises(TypeError, match="SGD is schedule-free: it steps one copy"):
            GradientProjector(model, optimizer, project=project)  # type: ignore[arg-type]


def functional_gradients(model: nn.Module, x: Tensor, y: Tensor) -> None:
    parameters = dict(model.named_parameters())

    def loss(values: dict[str, Tensor]) -> Tensor:
        logits = torch.func.functional_call(model, values, (x,))
        return nn.functional.cross_entropy(logits, y)

    plain = {name: p.detach() for name, p in parameters.items()}
    for name, gradient in torch.func.grad(loss)(plain).items():
        parameters[name].grad = gradient


def backward(model: nn.Module, x: Tensor, y: Tensor) -> None:
    loss_of(model, x, y).backward()


def told_of_a_task(
    rgo: RGO,
    model: nn.Module,
    optimizer: Optimizer,
    differentiate: Callable[[nn.Module, Tensor, Tensor], None],
) -> list[str]:
    """Return what the end of a task says of gradients past the hooks."""
    rgo.begin_task()
    for x, y in batches(2):
        optimizer.zero_grad()
        differentiate(model, x, y)
        optimizer.step()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        rgo.end_task(batches(2))
    return [str(w.message) for w in found if "no backward pass" in str(w.message)]


@pytest.mark.parametrize("project", ["gradient", "update"])
@pytest.mark.parametrize("differentiate", [functional_gradients, backward])
def test_gradients_past_the_backward_pass_are_told(
    project: Any, differentiate: Callable[[nn.Module, Tensor, Tensor], None]
) -> None:
    model = mlp()
    optimizer = sgd(model)
    rgo = RGO(model, optimizer, project=project)
    for _ in range(2):
        told = told_of_a_task(rgo, model, optimizer, differentiate)
        lost = project == "gradient" and differentiate is functional_gradients
        assert len(told) == lost
        if lost:
            assert told[0].startswith("0.weight, 0.bias, 2.weight")
            assert "Use project='update'" in told[0]


def test_what_bypasses_the_hooks_is_told_of_the_task_in_which_it_does() -> None:
    model = mlp()
    optimizer = sgd(model)
    rgo = RGO(model, optimizer)
    for differentiate in (backward, functional_gradients, backward):
        told = told_of_a_task(rgo, model, optimizer, differentiate)
        assert len(told) == (differentiate is functional_gradients)


def test_weight_decay_of_what_has_no_gradient_is_told() -> None:
    model = mlp()
    optimizer = sgd(model, weight_decay=0.1)
    rgo = RGO(model, optimizer)
    rgo.begin_task()
    model[4].requires_grad_(False)
    for x, y in batches(2):
        optimizer.zero_grad()
        loss_of(model, x, y).backward()
        model[4].weight.grad = torch.zeros_like(model[4].weight)  # a frozen one decays
        optimizer.step()
    model[4].requires_grad_(True)
    with pytest.warns(UserWarning, match=r"4\.weight: changed in this task, but no"):
        rgo.end_task(batches(2))
    assert set(second_moments(model, batches(1))) >= {"4.weight"}
