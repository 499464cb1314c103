"""What an optimizer keeps of a finished task's gradients moves no weight afterwards."""

import gc
import weakref
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim import optimizer as optimizer_hooks
from torch_backend.nets import (
    Count,
    assert_same,
    batches,
    loss_of,
    mlp,
    sgd,
    train,
    weights_of,
)
from torch_backend.projecting import consolidated

from rgo_torch import RGO, GradientProjector, second_moments

Make = Callable[[nn.Module], Optimizer]


OPTIMIZERS: dict[str, Make] = {
    "momentum": partial(sgd, momentum=0.9),
    "Nesterov": partial(sgd, momentum=0.9, nesterov=True),
    "dampened": partial(sgd, momentum=0.9, dampening=0.5),
    "RMSprop": lambda model: torch.optim.RMSprop(model.parameters(), momentum=0.9),
    "Adam": lambda model: torch.optim.Adam(model.parameters()),
}
GRADIENT = pytest.mark.filterwarnings(
    "ignore:.* rescales the gradient, which undoes:UserWarning"
)


def step_without_gradients(model: nn.Module, optimizer: Optimizer) -> None:
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()


@GRADIENT
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_after_a_task_a_step_without_gradients_moves_nothing(name: str) -> None:
    model = mlp()
    optimizer = OPTIMIZERS[name](model)
    rgo = RGO(model, optimizer, project="gradient")
    rgo.begin_task(0)
    train(model, optimizer, batches())
    before = weights_of(model)
    step_without_gradients(model, optimizer)
    assert not torch.equal(model[0].weight, before["0.weight"])  # momentum: it does
    rgo.end_task(batches())
    before = weights_of(model)
    step_without_gradients(model, optimizer)
    assert_same(weights_of(model), before)


@pytest.mark.parametrize("name", ["momentum", "Nesterov"])
def test_a_task_begins_with_the_momentum_of_a_new_optimizer(name: str) -> None:
    found = []
    for new in (False, True):
        model = mlp()
        optimizer = OPTIMIZERS[name](model)
        projector = GradientProjector(model, optimizer)
        train(model, optimizer, batches())
        projector.consolidate(second_moments(model, batches()), damping=0.01)
        if new:
            optimizer = OPTIMIZERS[name](model)
        train(model, optimizer, batches(seed=7))
        found.append(weights_of(model))
    assert_same(*found)


def test_projected_updates_leave_an_optimizer_what_it_estimates() -> None:
    model = mlp()
    optimizer = OPTIMIZERS["Adam"](model)
    train(model, optimizer, batches())
    consolidated(model, optimizer, project="update")
    assert optimizer.state[model[0].weight]["exp_avg"].any()


def test_what_has_parameters_and_no_state_has_no_momentum_to_drop() -> None:
    class Groups:
        __slots__ = ("param_groups",)

        def __init__(self, optimizer: Optimizer) -> None:
            self.param_groups = optimizer.param_groups

    model = mlp()
    projector = GradientProjector(model, Groups(sgd(model)))  # type: ignore[arg-type]
    projector.consolidate(second_moments(model, batches()), damping=0.01)
    assert projector.projections


def test_the_momentum_of_an_optimizer_inside_of_another_is_dropped() -> None:
    class Wrapper:
        def __init__(self, inner: Optimizer) -> None:
            self.inner, self.param_groups = inner, inner.param_groups
            self.outer = self  # no end, unless it is looked for
            self.state = {"steps": 0}

    model = mlp()
    inner = OPTIMIZERS["momentum"](model)
    outer = Wrapper(Wrapper(inner))  # type: ignore[arg-type]
    projector = GradientProjector(model, outer)  # type: ignore[arg-type]
    train(model, inner, batches())
    assert inner.state[model[0].weight]["momentum_buffer"].any()
    projector.consolidate(second_moments(model, batches()), damping=0.01)
    assert not any(inner.state[p]["momentum_buffer"].any() for p in model.parameters())


def test_momentum_of_what_is_not_protected_goes_on() -> None:
    model = mlp()
    optimizer = OPTIMIZERS["momentum"](model)
    rgo = RGO(model, optimizer, layout={"0.weight": None})
    rgo.begin_task(0)
    train(model, optimizer, batches())
    rgo.end_task(batches())
    kept = [optimizer.state[p]["momentum_buffer"] for p in model.parameters()]
    assert kept[0].any()
    assert not any(buffer.any() for buffer in kept[1:])


def test_gradients_that_were_left_are_of_no_next_task() -> None:
    """As where an odd number of batches is accumulated by twos."""
    model = mlp()
    optimizer = sgd(model)
    rgo = RGO(model, optimizer, seed=0)
    rgo.begin_task(0)
    train(model, optimizer, batches())
    assert model[0].weight.grad is not None
    rgo.end_task(batches())
    rgo.begin_task(1)
    before = weights_of(model)
    optimizer.step()
    assert_same(weights_of(model), before)


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_momentum_of_an_optimizer_that_came_later_is_dropped_too(
    wrapped: bool,
) -> None:
    class Plain:
        def __init__(self, inner: Optimizer) -> None:
            self.inner = inner

        def step(self) -> None:
            self.inner.step()

        def zero_grad(self) -> None:
            self.inner.zero_grad()

    model = mlp()
    rgo = RGO(model, sgd(model))
    later = OPTIMIZERS["momentum"](model)
    rgo.begin_task(0)
    train(model, Plain(later) if wrapped else later, batches())  # type: ignore[arg-type]
    rgo.end_task(batches())
    before = weights_of(model)
    step_without_gradients(model, later)
    assert_same(weights_of(model), before)


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method.:DeprecationWarning")
def test_a_compiled_step_is_seen_and_not_compiled_again() -> None:
    torch.compiler.reset()
    model, count = mlp(), Count()
    rgo = RGO(model, sgd(model))
    later = OPTIMIZERS["momentum"](model)
    step = torch.compile(later.step, backend=count)
    graphs = []
    for task in range(2):
        rgo.begin_task(task)
        for x, y in batches(3):
            later.zero_grad()
            loss_of(model, x, y).backward()
            step()
        rgo.end_task(batches())
        assert not any(
            later.state[p]["momentum_buffer"].any() for p in model.parameters()
        )
        graphs.append(count.graphs)
    assert graphs[0] == graphs[1] <= 2  # the first step has no momentum yet
    torch.compiler.reset()


def test_optimizers_of_other_models_keep_what_they_have() -> None:
    model, other = mlp(), mlp()
    rgo = RGO(model, sgd(model))
    kept = OPTIMIZERS["momentum"](other), torch.optim.LBFGS(other.parameters())
    rgo.begin_task(0)
    train(model, sgd(model), batches())
    x, y = batches(1)[0]
    for optimizer in kept:
        optimizer.step(lambda: backward(other, x, y))
    rgo.end_task(batches())
    assert all(kept[0].state[p]["momentum_buffer"].any() for p in other.parameters())
    assert kept[1].state


def backward(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    model.zero_grad()
    loss = loss_of(model, x, y)
    loss.backward()
    return loss


def test_what_notes_steps_keeps_nothing_alive_and_goes_with_the_projector() -> None:
    gc.collect()
    model, before = mlp(), len(global_hooks())
    projector = GradientProjector(model, sgd(model))
    assert len(global_hooks()) == before + 1
    later = OPTIMIZERS["momentum"](model)
    train(model, later, batches(1))
    gone = weakref.ref(later)
    del later
    gc.collect()
    assert gone() is None
    projector.detach()
    assert len(global_hooks()) == before
    projector = GradientProjector(model, sgd(model))
    gone = weakref.ref(projector)
    del projector
    gc.collect()
    assert gone() is None
    assert len(global_hooks()) == before


def global_hooks() -> dict[int, Callable[..., None]]:
    found: dict[int, Callable[..., None]] = optimizer_hooks._global_optimizer_post_hooks
    return found
