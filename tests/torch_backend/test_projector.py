"""A step uses P G in place of G: in the gradient, or in the optimizer's update."""

import copy
import gc
import weakref
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch_backend.nets import (
    CLASSES,
    FEATURES,
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
    wide_mlp,
)
from torch_backend.tolerance import assert_far, assert_near

import rgo_core
from rgo_core import SecondMoment
from rgo_core.scaling import Normalize
from rgo_torch import GradientProjector, second_moments
from rgo_torch.optimizers import ADAPTIVE

STEPS = 50
DAMPING = 0.01
SGDS = {
    "plain": {},
    "momentum": {"momentum": 0.9, "nesterov": True},
    "weight decay": {"weight_decay": 0.01},
}
Make = Callable[[nn.Module], Optimizer]
OPTIMIZERS: dict[str, Make] = {
    **{name: partial(sgd, **options) for name, options in SGDS.items()},
    "Adam": lambda model: torch.optim.Adam(model.parameters()),
    "AdamW": lambda model: torch.optim.AdamW(model.parameters()),
}
ADAM = pytest.mark.filterwarnings("ignore:Adam.* rescales the gradient:UserWarning")


def state_of(model: nn.Module, projection: Callable[[int], Tensor]) -> dict:
    """Return a state with a projection of each parameter's n, and no second moment."""
    found = {}
    for name, p in model.named_parameters():
        n = p.shape[-1]
        found[name] = {
            "matrix": torch.zeros(n, n, dtype=torch.float64),
            "count": torch.ones((), dtype=torch.int64),
            "projection": projection(n),
        }
    return found


def consolidated(
    model: nn.Module, optimizer: Optimizer | None = None, **options: str
) -> GradientProjector:
    projector = GradientProjector(model, optimizer or sgd(model), **options)
    projector.consolidate(second_moments(model, batches(seed=90)), damping=DAMPING)
    return projector


@ADAM
@pytest.mark.parametrize("project", ["gradient", "update"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_before_anything_is_consolidated_the_optimizer_is_the_plain_one_to_the_bit(
    name: str, project: str
) -> None:
    model, plain, data = mlp(), mlp(), batches(STEPS, size=4)
    optimizer = OPTIMIZERS[name](model)
    GradientProjector(model, optimizer, project=project)
    train(model, optimizer, data)
    train(plain, OPTIMIZERS[name](plain), data)
    assert_same(weights_of(model), weights_of(plain))


@ADAM
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_with_the_identity_loaded_the_optimizer_is_the_plain_one_to_the_bit(
    name: str,
) -> None:
    model, plain, data = mlp(), mlp(), batches(STEPS, size=32)
    optimizer = OPTIMIZERS[name](model)
    projector = GradientProjector(model, optimizer)
    projector.load_state_dict(state_of(model, torch.eye))
    train(model, optimizer, data)
    train(plain, OPTIMIZERS[name](plain), data)
    assert_same(weights_of(model), weights_of(plain))


def test_with_the_identity_loaded_factors_step_like_the_plain_one_to_rounding() -> None:
    model, plain, data = wide_mlp(), wide_mlp(), batches(STEPS, size=4)
    optimizer = sgd(model)
    projector = GradientProjector(model, optimizer)
    projector.load_state_dict(state_of(model, torch.eye))
    train(model, optimizer, data)
    train(plain, sgd(plain), data)
    for name, weight in weights_of(plain).items():
        assert_near(weights_of(model)[name], weight, amplification=STEPS)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_with_the_identity_loaded_updates_are_the_plain_ones_to_rounding(
    name: str,
) -> None:
    model, plain, data = mlp(), mlp(), batches(STEPS)
    optimizer = OPTIMIZERS[name](model)
    projector = GradientProjector(model, optimizer, project="update")
    projector.load_state_dict(state_of(model, torch.eye))
    train(model, optimizer, data)
    train(plain, OPTIMIZERS[name](plain), data)
    for key, weight in weights_of(plain).items():
        assert_near(weights_of(model)[key], weight, amplification=STEPS)


@pytest.mark.parametrize("normalize", ["weights", "all", "none"])
def test_a_gradient_is_multiplied_by_its_projection(normalize: Normalize) -> None:
    model = mlp()
    projector = GradientProjector(model, sgd(model), normalize=normalize)
    moments = second_moments(model, batches(seed=90))
    projector.consolidate(moments, damping=DAMPING)
    found = gradients_of(model, lambda: loss_of(model, *batch()))
    with projector.paused():
        plain = gradients_of(model, lambda: loss_of(model, *batch()))
    for name, gradient in plain.items():
        P = projector.projections[name]
        scaled = {"weights": name.endswith("weight"), "all": True, "none": False}
        normalized = scaled[normalize]
        expected = rgo_core.consolidate(moments[name], DAMPING, normalized=normalized)
        assert torch.equal(P, expected.float())
        assert bool(torch.isclose(P.trace(), torch.tensor(float(len(P))))) == normalized
        assert_near(found[name], gradient.double() @ P.double(), amplification=len(P))
    assert_far(found["0.weight"], plain["0.weight"])


@pytest.mark.parametrize("name", ["plain", "momentum"])
def test_a_projected_update_is_a_projected_gradient_for_sgd(name: str) -> None:
    found = {}
    for project in ("gradient", "update"):
        model = mlp().double()
        data = [(x.double(), y) for x, y in batches(STEPS)]
        optimizer = sgd(model, **SGDS[name])
        projector = GradientProjector(
            model, optimizer, project=project, normalize="weights"
        )
        projector.consolidate(second_moments(model, data[:2]), damping=DAMPING)
        train(model, optimizer, data)
        found[project] = weights_of(model)
    for key, weight in found["gradient"].items():
        assert_near(found["update"][key], weight, amplification=STEPS)


def movement(optimizer: Make, project: str, damping: float | None) -> tuple[float, ...]:
    """Train on new inputs; return how far weights moved for the old ones and at all."""
    torch.manual_seed(0)
    model = nn.Linear(FEATURES, CLASSES, bias=False)
    optimizer = optimizer(model)
    old = torch.zeros(64, FEATURES)
    old[:, :3] = 10 * torch.randn(64, 3)
    projector = GradientProjector(model, optimizer, project=project)
    if damping is not None:
        moments = second_moments(model, [(old, torch.arange(64) % CLASSES)])
        projector.consolidate(moments, damping=damping)
    before = model.weight.detach().clone()
    train(model, optimizer, batches(STEPS))
    moved = (model.weight - before).detach()
    return float(moved[:, :3].norm()), float(moved[:, 3:].norm())


@ADAM
def test_adam_keeps_a_protected_direction_only_if_its_update_is_projected() -> None:
    adam = OPTIMIZERS["Adam"]
    free, _ = movement(adam, "update", None)
    kept, elsewhere = movement(adam, "update", 1e-6)
    assert kept < 1e-3 * free  # the claim as it was measured
    assert elsewhere > 0.1 * free
    undone, _ = movement(adam, "gradient", 1e-6)
    assert undone > 0.1 * free


@pytest.mark.parametrize("project", ["gradient", "update"])
@pytest.mark.parametrize("name", ["plain", "momentum"])
def test_sgd_keeps_a_protected_direction_in_either_mode(
    name: str, project: str
) -> None:
    free, _ = movement(OPTIMIZERS[name], project, None)
    kept, elsewhere = movement(OPTIMIZERS[name], project, 1e-6)
    assert kept < 1e-3 * free
    assert elsewhere > 0.1 * free


def test_an_update_without_a_gradient_stays_nothing() -> None:
    model = mlp()
    optimizer = sgd(model)
    consolidated(model, optimizer, project="update")
    before = weights_of(model)
    optimizer.step()
    assert_same(weights_of(model), before)


def test_a_product_that_fails_leaves_the_update_as_the_optimizer_made_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = mlp()
    optimizer = sgd(model)
    projector = consolidated(model, optimizer, project="update")
    name = next(iter(projector.projections))
    weight = model.get_parameter(name)
    weight.grad = torch.ones_like(weight)
    plain = weight.detach() - optimizer.param_groups[0]["lr"]

    def out_of_memory(*_: object) -> Tensor:
        raise MemoryError("no room for a product")

    parameter = projector.parameters[name]
    monkeypatch.setattr(type(parameter), "projected", out_of_memory)
    with pytest.raises(MemoryError, match="no room"):
        optimizer.step()
    assert_near(weight.detach(), plain)


def test_a_learning_rate_scheduler_does_not_look_like_a_closure() -> None:
    model = mlp()
    optimizer = sgd(model)
    projector = consolidated(model, optimizer, project="update")
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    train(model, optimizer, [batch()])
    scheduler.step()
    assert not projector._updates._before


def closure_steps(model: nn.Module, optimizer: Optimizer) -> None:
    for x, y in batches(3):

        def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
            optimizer.zero_grad()
            loss = loss_of(model, x, y)
            loss.backward()
            return loss

        optimizer.step(closure)


def test_in_gradient_mode_a_closure_sees_projected_gradients() -> None:
    model, stepped = mlp(), mlp()
    optimizer, plain = sgd(model), sgd(stepped)
    consolidated(model, optimizer)
    consolidated(stepped, plain)
    closure_steps(model, optimizer)
    train(stepped, plain, batches(3))
    assert_same(weights_of(model), weights_of(stepped))
    free = mlp()
    train(free, sgd(free), batches(3))
    assert not torch.equal(free[0].weight, model[0].weight)


def test_lbfgs_steps_in_gradient_mode() -> None:
    model, plain = mlp(), mlp()
    optimizer = torch.optim.LBFGS(model.parameters())
    projector = GradientProjector(model, optimizer)
    projector.load_state_dict(state_of(model, torch.eye))
    closure_steps(model, optimizer)
    closure_steps(plain, torch.optim.LBFGS(plain.parameters()))
    assert_same(weights_of(model), weights_of(plain))


@pytest.mark.parametrize("keyword", [False, True])
def test_in_update_mode_a_closure_is_refused_before_the_step(keyword: bool) -> None:
    model = mlp()
    optimizer = sgd(model)
    consolidated(model, optimizer, project="update")
    before = weights_of(model)
    loss_of(model, *batch()).backward()
    how = {"closure": lambda: 0.0} if keyword else {}
    given = () if keyword else (lambda: 0.0,)
    with pytest.raises(ValueError, match=r"needs step\(\) without a closure"):
        optimizer.step(*given, **how)
    assert_same(weights_of(model), before)
    optimizer.step(closure=None)
    assert not torch.equal(model[0].weight, before["0.weight"])


@pytest.mark.parametrize("project", ["gradient", "update"])
def test_inside_paused_steps_are_plain(project: str) -> None:
    model, plain = mlp(), mlp()
    optimizer = sgd(model)
    projector = consolidated(model, optimizer, project=project)
    with projector.paused():
        with projector.paused():
            pass
        train(model, optimizer, batches())
    train(plain, sgd(plain), batches())
    assert_same(weights_of(model), weights_of(plain))
    train(model, optimizer, batches())
    train(plain, sgd(plain), batches())
    assert not torch.equal(model[0].weight, plain[0].weight)


@pytest.mark.parametrize("project", ["gradient", "update"])
def test_after_detach_model_and_optimizer_are_plain(project: str) -> None:
    model, plain = mlp(), mlp()
    optimizer = sgd(model)
    consolidated(model, optimizer, project=project).detach()
    assert not list(hooks_of(model))
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks
    train(model, optimizer, batches())
    train(plain, sgd(plain), batches())
    assert_same(weights_of(model), weights_of(plain))


@pytest.mark.parametrize("project", ["gradient", "update"])
def test_a_parameter_frozen_at_first_is_projected_once_it_trains(project: str) -> None:
    model, reference = mlp(), mlp()
    model[0].weight.requires_grad_(False)
    for candidate in (model, reference):
        optimizer = sgd(candidate)
        projector = GradientProjector(candidate, optimizer, project=project)
        assert candidate[0].weight.requires_grad == (candidate is reference)
        moments = second_moments(reference, batches(seed=90))
        projector.consolidate(moments, damping=DAMPING)
        candidate[0].weight.requires_grad_(True)
        train(candidate, optimizer, batches())
    assert_same(weights_of(model), weights_of(reference))


def test_consolidating_twice_adds_the_second_moments() -> None:
    model = mlp()
    first = second_moments(model, batches(seed=1))
    second = second_moments(model, batches(seed=2))
    projector = GradientProjector(model, sgd(model))
    projector.consolidate(first, damping=DAMPING)
    projector.consolidate(second, damping=0.5)
    merged = rgo_core.merge_moments(first["0.weight"], second["0.weight"])
    expected = rgo_core.consolidate(merged, 0.5).float()
    assert torch.equal(projector.moments["0.weight"].matrix, merged.matrix)
    assert int(projector.moments["0.weight"].count) == 6 * 16
    assert torch.equal(projector.projections["0.weight"], expected)


def test_parameters_that_were_not_observed_keep_their_projection() -> None:
    model = mlp()
    projector = consolidated(model)
    before = dict(projector.projections)
    moments = second_moments(model, batches(seed=2))
    projector.consolidate({"0.bias": moments["0.bias"]}, damping=DAMPING)
    assert list(projector.projections) == list(before)
    for name, projection in projector.projections.items():
        assert (projection is before[name]) == (name != "0.bias")


def test_a_projection_of_a_half_precision_model_is_applied_in_float32() -> None:
    model = mlp().bfloat16()
    projector = GradientProjector(model, sgd(model))
    data = [(x.bfloat16(), y) for x, y in batches()]
    projector.consolidate(second_moments(model, data), damping=DAMPING)
    x, y = data[0]
    found = gradients_of(model, lambda: loss_of(model, x, y))
    with projector.paused():
        plain = gradients_of(model, lambda: loss_of(model, x, y))
    for name, gradient in plain.items():
        P = projector.projections[name]
        assert P.dtype == torch.float32
        assert torch.equal(found[name], (gradient.float() @ P).bfloat16())


@pytest.mark.parametrize("size", [4, 64])
def test_a_model_that_moves_to_float64_takes_its_projections_along(size: int) -> None:
    model, reference = wide_mlp(), wide_mlp().double()
    projector = consolidated(model)
    model.double()
    other = GradientProjector(reference, sgd(reference))
    other.load_state_dict(projector.state_dict())
    x, y = batch(size)
    found = gradients_of(model, lambda: loss_of(model, x.double(), y))
    expected = gradients_of(reference, lambda: loss_of(reference, x.double(), y))
    assert_same(found, expected)
    moments = second_moments(model, [(x.double(), y)])
    projector.consolidate(moments, damping=DAMPING)
    assert projector.projections["0.weight"].dtype == torch.float64


def test_observations_that_were_rounded_are_refused() -> None:
    model = mlp()
    moments = second_moments(model, batches())
    projector = GradientProjector(model, sgd(model))
    single = {
        name: SecondMoment(moment.matrix.float(), moment.count)
        for name, moment in moments.items()
    }
    message = "expected a matrix in float64, got torch.float32: what was rounded does"
    with pytest.raises(TypeError, match=message):
        projector.consolidate(single, damping=DAMPING)
    tensors = {"0.weight": SecondMoment(moments["0.weight"].matrix.numpy(), 1)}
    with pytest.raises(TypeError, match="a matrix that is a tensor, got a ndarray"):
        projector.consolidate(tensors, damping=DAMPING)
    assert not projector.moments


def test_a_dropped_model_is_freed() -> None:
    model = mlp()
    optimizer = sgd(model)
    projector = consolidated(model, optimizer)
    train(model, optimizer, batches(1))
    references = [weakref.ref(model), weakref.ref(model[0].weight)]
    del model, optimizer, projector
    gc.collect()
    assert not any(reference() for reference in references)


def test_a_copy_of_the_model_trains_plainly_and_gathers_nothing() -> None:
    model = wide_mlp()
    projector = consolidated(model)
    copied, plain = copy.deepcopy(model), wide_mlp()
    found = gradients_of(copied, lambda: loss_of(copied, *batch(4)))
    assert_same(found, gradients_of(plain, lambda: loss_of(plain, *batch(4))))
    assert not any(module.__dict__["forward"].sent.parts for module in model[::2])
    assert projector.projections


def test_the_state_goes_into_another_projector() -> None:
    model, other = mlp(), mlp()
    state = consolidated(model).state_dict()
    projector = GradientProjector(other, sgd(other))
    projector.load_state_dict(state)
    assert_same(projector.state_dict(), state)
    found = gradients_of(model, lambda: loss_of(model, *batch()))
    assert_same(found, gradients_of(other, lambda: loss_of(other, *batch())))


def spoil(state: dict, key: str, value: object) -> dict:
    return state | {"0.weight": state["0.weight"] | {key: value}}


def without(state: dict, key: str) -> dict:
    entry = {k: v for k, v in state["0.weight"].items() if k != key}
    return state | {"0.weight": entry}


NAN = torch.full((12, 12), torch.nan, dtype=torch.float64)
BAD_STATES: dict[str, Callable[[dict], dict]] = {
    "the state is of another network: it has 'head.weight', this": lambda state: (
        state | {"head.weight": state["0.weight"]}
    ),
    r"0.weight: expected a matrix of shape \(12, 12\), got \(8, 8\)": lambda state: (
        state | {"0.weight": state["2.weight"]}
    ),
    "0.weight: expected a matrix of finite numbers, got NaN": lambda state: spoil(
        state, "matrix", NAN
    ),
    "^0.weight: expected a projection of finite": lambda state: spoil(
        state, "projection", NAN.float()
    ),
    "0.weight: expected a state with the tensors": lambda state: without(
        state, "projection"
    ),
    "weight: expected a state with the tensors": lambda state: without(state, "count"),
    "0.weight: expected a state with": lambda state: spoil(state, "matrix", [1.0]),
    "0.weight: expected a state": lambda state: state | {"0.weight": 3},
}


@pytest.mark.parametrize("message", BAD_STATES)
def test_a_state_that_does_not_fit_is_refused_and_nothing_changes(message: str) -> None:
    model = mlp()
    projector = consolidated(model)
    before = projector.state_dict()
    good = consolidated(mlp(1)).state_dict()
    bad = BAD_STATES[message]({key: good[key] for key in reversed(good)})
    with pytest.raises(ValueError, match=message):
        projector.load_state_dict(bad)
    assert_same(projector.state_dict(), before)


def eye(n: int, scale: float = 1.0) -> SecondMoment:
    return SecondMoment(scale * torch.eye(n, dtype=torch.float64), torch.tensor(1))


@pytest.mark.parametrize(
    ("moments", "damping", "message"),
    [
        ({"1.weight": eye(8)}, 1, r"named after projected parameters, got \['1.weight"),
        ({"0.bias": eye(8), "0.weight": eye(8)}, 1, r"0.weight: .* \(12, 12\), got"),
        ({"0.bias": eye(8), "0.weight": eye(12, torch.nan)}, 1, "0.weight: .* finite"),
        ({"0.bias": eye(8), "0.weight": eye(12, -1.0)}, 0.1, "0.weight: I .* definite"),
        ({"0.weight": eye(12)}, 0.0, "0.weight: damping must be a finite number > 0"),
        ({"0.weight": eye(12)}, torch.nan, "0.weight: damping .* > 0, got nan"),
    ],
)
def test_moments_that_do_not_fit_are_refused_and_nothing_changes(
    moments: dict, damping: float, message: str
) -> None:
    model = mlp()
    projector = GradientProjector(model, sgd(model))
    projector.consolidate({"2.bias": eye(8)}, damping=DAMPING)
    before = copy.deepcopy(projector.state_dict())
    with pytest.raises(ValueError, match=message):
        projector.consolidate(moments, damping=damping)
    assert_same(projector.state_dict(), before)


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
    message = "^0.weight, 0.bias, 2.weight, 2.bias: held by no optimizer given, so that"
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


@pytest.mark.parametrize("kind", ADAPTIVE)
def test_an_adaptive_optimizer_with_projected_gradients_is_warned_of(
    kind: type[Optimizer],
) -> None:
    model = nn.Linear(3, 2, bias=False)
    optimizer = kind(model.parameters(), lr=0.1)
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
