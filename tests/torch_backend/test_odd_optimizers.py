"""Optimizers from elsewhere: those that rescale, wrap others, or average weights."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch_backend.nets import (
    Count,
    batch,
    batches,
    loss_of,
    mlp,
    sgd,
    weights_of,
)
from torch_backend.projecting import consolidated
from torch_backend.wrapping import Outer

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
    assert graphs[-1] == 1, graphs  # the step alone
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
    with pytest.warns(UserWarning, match="weight decay of SGD"):
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
