"""Which optimizers a projector serves, and how."""

import warnings
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch_backend.nets import (
    assert_same,
    batch,
    batches,
    gradients_of,
    hooks_of,
    loss_of,
    mlp,
    sgd,
    train,
    weights_of,
)
from torch_backend.projecting import consolidated
from torch_backend.tolerance import assert_near

from rgo_core import empty_moment, observe
from rgo_torch import RGO, GradientProjector, second_moments
from rgo_torch.projecting.optimizers import ADAPTIVE, UNDOING, Project


def test_options_models_and_optimizers_that_do_not_fit_are_refused() -> None:
    model = mlp()
    with pytest.raises(ValueError, match="must be 'gradient' or 'update', got 'step'"):
        GradientProjector(model, sgd(model), project="step")
    with pytest.raises(ValueError, match="normalize must be None or 'weights' or"):
        GradientProjector(model, sgd(model), normalize="free")
    message = "holds none of the 6 to project: was the model rebuilt"
    with pytest.raises(ValueError, match=message):
        GradientProjector(model, sgd(mlp()))
    norm = nn.LayerNorm(3)
    asked = {"weight": None, "bias": None}
    with pytest.raises(ValueError, match=r"parameter to project: .*left unprotected"):
        GradientProjector(norm, sgd(norm), layout=asked)
    with pytest.raises(ValueError, match="to project: it has none at all"):
        GradientProjector(nn.ReLU(), sgd(norm))
    assert not list(hooks_of(model))


def test_an_optimizer_of_a_part_of_the_model_is_welcome() -> None:
    model = mlp()
    optimizer = sgd(model[4])
    message = "^0.weight, 0.bias, 2.weight and 1 more: held by no optimizer given"
    with pytest.warns(UserWarning, match=message):
        projector = consolidated(model, optimizer, project="update")
    assert [name for name, _ in projector.unprotected] == [
        *("0.weight", "0.bias", "2.weight", "2.bias")
    ]
    assert projector.protected_share == pytest.approx(36 / 212)
    before = weights_of(model)
    train(model, optimizer, batches(1))
    assert torch.equal(model[0].weight, before["0.weight"])
    assert not torch.equal(model[4].weight, before["4.weight"])
    projector.detach()


@pytest.mark.parametrize("project", ["gradient", "update"])
def test_several_optimizers_step_as_one(project: str) -> None:
    found = []
    for apart in (False, True):
        model = mlp()
        parts = [model[:2], model[2:]] if apart else [model]
        optimizers = [sgd(part, momentum=0.9) for part in parts]
        projector = consolidated(model, optimizers, project=project)
        for x, y in batches(3):
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss_of(model, x, y).backward()
            for optimizer in reversed(optimizers):
                optimizer.step()
        assert not projector.unprotected
        found.append(weights_of(model))
    assert_same(*found)


def test_a_part_that_is_frozen_needs_no_optimizer() -> None:
    model = mlp()
    model[0].requires_grad_(False)
    projector = GradientProjector(model, sgd(model[2:]), project="update")
    model[0].requires_grad_(True)
    reason = "held by no optimizer given"
    assert projector.unprotected == [("0.weight", reason), ("0.bias", reason)]


class Lookahead:
    """Steps another optimizer, and goes back half the way every second time."""

    def __init__(self, inner: Optimizer) -> None:
        self.inner, self.param_groups = inner, inner.param_groups
        self.slow = [p.detach().clone() for g in self.param_groups for p in g["params"]]
        self.steps = 0

    def step(self) -> None:
        self.inner.step()
        self.steps += 1
        fast = [p for group in self.param_groups for p in group["params"]]
        for p, slow in zip(fast, self.slow, strict=True):
            if self.steps % 2 == 0:
                p.data.lerp_(slow, 0.5)
                slow.copy_(p.data)


def test_an_optimizer_that_calls_no_hooks_is_refused_and_its_inner_one_serves() -> None:
    model = mlp()
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    message = r"needs an optimizer that calls step hooks, .* got a Lookahead; give RGO"
    with pytest.raises(TypeError, match=message):
        GradientProjector(model, Lookahead(adam), project="update")
    GradientProjector(model, Lookahead(sgd(model))).detach()
    projector = GradientProjector(model, adam, project="update")
    projector.consolidate(second_moments(model, batches(1, 4)), damping=1e-9)
    outer, before = Lookahead(adam), weights_of(model)
    for x, y in batches(4):
        outer.inner.zero_grad()
        loss_of(model, x, y).backward()
        outer.step()
    x, moved = batch(4)[0], model[0].weight.detach() - before["0.weight"]
    assert float((x @ moved.mT).norm() / (x.norm() * moved.norm())) < 1e-3


def test_what_is_no_optimizer_is_refused() -> None:
    model = mlp()
    message = "must be an optimizer of PyTorch or several, got a Linear"
    with pytest.raises(TypeError, match=message):
        GradientProjector(model, [sgd(model), model[0]])


def test_where_there_is_no_optimizer_it_is_said_what_to_give() -> None:
    advice = "adds to the weights itself give torch.optim.SGD .* and never step it"
    for nothing, kind, message in (
        (None, TypeError, "or several, got a NoneType; for a loop that "),
        ([None], TypeError, "or several, got a NoneType; for a loop that "),
        ([], ValueError, "expected an optimizer or several, got no optimizer; for a "),
    ):
        for attach in (RGO, GradientProjector):
            with pytest.raises(kind, match=f"{message}.*{advice}"):
                attach(mlp(), nothing)
    with pytest.raises(TypeError, match=r"or several, got a float$"):
        GradientProjector(mlp(), 0.1)


def test_gradients_are_projected_for_a_loop_that_adds_them_itself() -> None:
    ends = []
    for steps_itself in (False, True):
        model = mlp()
        optimizer = sgd(model)
        rgo = RGO(model, optimizer)
        for task in range(2):
            rgo.begin_task(task)
            for x, y in batches(4, seed=task):
                model.zero_grad()
                loss_of(model, x, y).backward()
                if not steps_itself:
                    optimizer.step()
                    continue
                for p in model.parameters():
                    p.data.add_(p.grad, alpha=-optimizer.param_groups[0]["lr"])
            rgo.end_task(batches(4, seed=task))
        ends.append(weights_of(model))
    for name, end in ends[0].items():
        assert torch.equal(end, ends[1][name])


@pytest.mark.parametrize("first", ["gradient", "update"])
@pytest.mark.parametrize("second", ["gradient", "update"])
def test_a_second_projector_on_a_model_is_refused(first: str, second: str) -> None:
    model = mlp()
    optimizer = sgd(model)
    projector = GradientProjector(model, optimizer, project=first)
    hooks = list(hooks_of(model))
    message = r"(0.weight|SGD): expected a model that nothing of rgo_torch is attached"
    with pytest.raises(ValueError, match=message):
        GradientProjector(model, optimizer, project=second)
    assert list(hooks_of(model)) == hooks
    projector.detach()
    GradientProjector(model, optimizer, project=second)


@pytest.mark.parametrize("kind", [k for k in ADAPTIVE if k not in UNDOING])
def test_an_adaptive_optimizer_with_projected_gradients_is_warned_of(
    kind: type[Optimizer],
) -> None:
    model = nn.Linear(3, 2, bias=False)
    optimizer = kind(model.parameters(), lr=1e-4)
    message = f"{kind.__name__} rescales the gradient, .* use project='update'"
    with pytest.warns(UserWarning, match=message):
        projector = GradientProjector(model, optimizer)
    projector.detach()
    GradientProjector(model, optimizer, project="update")


def test_the_adaptive_optimizers_are_those_of_pytorch() -> None:
    names = {kind.__name__ for kind in ADAPTIVE}
    assert {"Adam", "AdamW", "Adagrad", "RMSprop", "Adafactor"} < names
    assert not names & {"SGD", "ASGD", "LBFGS"}


def test_gradients_of_batches_add_up() -> None:
    model = mlp()
    consolidated(model)
    x, y = batch(16)
    whole = gradients_of(model, lambda: loss_of(model, x, y))
    model.zero_grad()
    for low, high in pairwise((0, 4, 16)):
        part = loss_of(model, x[low:high], y[low:high]) * (high - low) / 16
        part.backward()
    for name, p in model.named_parameters():
        assert_near(p.grad, whole[name], amplification=16)


def moved(make: Callable[[Any], Optimizer], project: Project, steps: int) -> float:
    """Return how far a task moves weights along what the task before needs most."""
    model = nn.Linear(4, 1, bias=False, dtype=torch.float64)
    nn.init.zeros_(model.weight)
    optimizer = make(model.parameters())
    with pytest.warns(UserWarning, match="makes up, after some steps"):
        projector = GradientProjector(model, optimizer, project=project)
    x = torch.eye(4, dtype=torch.float64) * torch.tensor([5.0, 1.0, 1.0, 1.0])
    projector.consolidate(
        {"weight": observe(empty_moment(4, xp=torch), x)}, damping=0.1
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
        loss.backward()
        return loss

    for _ in range(steps):
        if project == "gradient":
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()
    return float(model.weight.detach()[0, 0])


@pytest.mark.parametrize(
    ("make", "project", "few", "many"),
    [
        (partial(torch.optim.LBFGS, max_iter=1), "gradient", 1, 40),
        (partial(torch.optim.Rprop, lr=0.001), "gradient", 5, 80),
        (partial(torch.optim.Rprop, lr=0.001), "update", 5, 80),
    ],
)
def test_what_makes_up_for_a_projection_is_warned_of(
    make: Callable[[Any], Optimizer], project: Project, few: int, many: int
) -> None:
    assert moved(make, project, few) < 0.1
    assert moved(make, project, many) > 0.9  # the minimum is at 1, with P as without


@pytest.mark.filterwarnings("ignore:LBFGS divides:UserWarning")
def test_what_lbfgs_remembers_of_a_task_ends_with_it() -> None:
    model = mlp()
    optimizer = torch.optim.LBFGS(model.parameters(), history_size=3)
    projector = GradientProjector(model, optimizer)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(model, *batch())
        loss.backward()
        return loss

    optimizer.step(closure)
    assert next(iter(optimizer.state.values()))["old_dirs"]
    projector.consolidate(second_moments(model, [batch()]), damping=0.1)
    assert not optimizer.state


@pytest.mark.parametrize("project", ["gradient", "update"])
def test_what_an_optimizer_steps_beside_the_model_is_warned_of(project: str) -> None:
    model, head = mlp(), nn.Linear(3, 2)
    whole = [*model.parameters(), *head.parameters()]
    message = r"steps 2 parameters that the model .* \[\(2, 3\), \(2,\)\]: what they"
    with pytest.warns(UserWarning, match=message):
        GradientProjector(model, torch.optim.SGD(whole), project=project)


@pytest.mark.filterwarnings("error")
def test_frozen_strangers_and_parts_of_the_model_are_not_warned_of() -> None:
    model, head = mlp(), nn.Linear(3, 2).requires_grad_(False)
    model[0].requires_grad_(False)
    whole = [*model.parameters(), *head.parameters()]
    GradientProjector(model, torch.optim.SGD(whole))


@pytest.mark.parametrize("project", ["gradient", "update"])
def test_what_an_optimizer_comes_to_step_beside_the_model_is_warned_of_once(
    project: Project,
) -> None:
    model, thawed, added = mlp(), nn.Linear(3, 2).requires_grad_(False), nn.Linear(5, 1)
    optimizer = torch.optim.SGD([*model.parameters(), *thawed.parameters()])
    rgo = RGO(model, optimizer, project=project)
    message = r"steps {} parameters that the model .* \[\({}, {}\), "
    optimizer.add_param_group({"params": list(added.parameters())})
    for _ in range(2):  # whoever makes warnings errors is told until it is mended
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(UserWarning, match=message.format(2, 1, 5)):
                rgo.begin_task(0)
        assert rgo.current is None
    with pytest.warns(UserWarning, match=message.format(2, 1, 5)):
        rgo.begin_task(0)
    thawed.requires_grad_(True)
    with pytest.warns(UserWarning, match=message.format(2, 2, 3)) as told:
        rgo.end_task([batch()])
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rgo.begin_task(1)
