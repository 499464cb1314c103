"""What a projector keeps, takes in and refuses."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch_backend.nets import (
    assert_same,
    batch,
    batches,
    gradients_of,
    loss_of,
    mlp,
    sgd,
    wide_mlp,
)
from torch_backend.projecting import DAMPING, consolidated

import rgo_core
from rgo_core import SecondMoment
from rgo_torch import GradientProjector, second_moments


def test_consolidating_twice_adds_the_second_moments() -> None:
    model = mlp()
    first = second_moments(model, batches(seed=1))
    second = second_moments(model, batches(seed=2))
    projector = GradientProjector(model, sgd(model))
    projector.consolidate(first, damping=DAMPING)
    projector.consolidate(second, damping=0.5)
    merged = rgo_core.merge_moments(first["0.weight"], second["0.weight"])
    expected = rgo_core.consolidate(merged, 0.5, normalized=False).float()
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
    "expected the state of a projector, .* got a list": list,
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
