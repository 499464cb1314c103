"""Second moments kept as sketches and diagonals protect, and survive, as full ones."""

import copy
import io
from typing import Any

import pytest
import torch
from array_api_compat import torch as xp
from torch import nn
from torch_backend.nets import (
    assert_same,
    batch,
    batches,
    gradients_of,
    loss_of,
    mlp,
    sgd,
    train,
    weights_of,
    wide_mlp,
)
from torch_backend.tolerance import assert_near

import rgo_core
from rgo_core import SecondMoment, SketchedMoment
from rgo_torch import RGO, GradientProjector, second_moments


def observed(model: nn.Module, **forms: object) -> GradientProjector:
    projector = GradientProjector(model, sgd(model), **forms)
    dtype = next(model.parameters()).dtype
    data = [(x.to(dtype), y) for x, y in batches()]
    projector.consolidate(second_moments(model, data, **forms), damping=0.001)
    return projector


def test_only_wide_weights_are_sketched() -> None:
    projector = observed(mlp(), max_features=8, sketch_rows=5)
    kinds = {name: type(moment) for name, moment in projector.moments.items()}
    assert kinds.pop("0.weight") is SketchedMoment  # of 12 inputs
    assert set(kinds.values()) == {SecondMoment}
    assert projector.moments["0.weight"].rows.shape == (5, 12)
    # As many rows as features would save nothing.
    whole = observed(mlp(), max_features=8, sketch_rows=12)
    assert type(whole.moments["0.weight"]) is SecondMoment


@pytest.mark.parametrize("size", [4, 64])
def test_a_sketch_of_full_rank_projects_like_the_whole(size: int) -> None:
    model, other = wide_mlp().double(), wide_mlp().double()
    full, sketched = observed(model), observed(other, max_features=1, sketch_rows=40)
    x, y = batch(size)
    found = gradients_of(other, lambda: loss_of(other, x.double(), y))
    for name, expected in gradients_of(
        model, lambda: loss_of(model, x.double(), y)
    ).items():
        P = rgo_core.as_matrix(sketched.projections[name], xp=xp)
        assert_near(P, full.projections[name], amplification=1e5)
        assert_near(found[name], expected, amplification=1e5)


def test_a_sketch_too_small_still_protects_what_it_holds() -> None:
    torch.manual_seed(0)
    model = nn.Linear(12, 2, bias=False).double()
    directions = torch.zeros(64, 12, dtype=torch.float64)
    directions[:, :2] = torch.randn(64, 2, dtype=torch.float64)  # rank two
    moments = second_moments(
        model,
        [directions],
        score=lambda model, x: model(x).sum(-1),
        max_features=4,
        sketch_rows=2,
    )
    projector = GradientProjector(model, sgd(model), max_features=4, sketch_rows=2)
    projector.consolidate(moments, damping=1e-6)
    P = rgo_core.as_matrix(projector.projections["weight"], xp=xp)
    assert P[:2, :2].abs().max() < 1e-6
    assert_near(P[2:, 2:], torch.eye(10, dtype=torch.float64), amplification=1e3)


def test_a_state_with_every_form_goes_on_to_the_same_numbers() -> None:
    def model() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(mlp(), nn.LayerNorm(4))

    forms = {"max_features": 8, "sketch_rows": 5}
    first = model()
    optimizer = sgd(first)
    rgo = RGO(first, optimizer, **forms)
    rgo.begin_task(0)
    train(first, optimizer, batches())
    rgo.end_task(batches())
    file = io.BytesIO()
    torch.save(rgo.state_dict(), file)
    file.seek(0)
    second = copy.deepcopy(model())
    second.load_state_dict(first.state_dict())
    again = RGO(second, sgd(second), **forms)
    again.load_state_dict(torch.load(file, weights_only=True))
    assert_same(again.state_dict(), rgo.state_dict())
    for net, task in ((first, rgo), (second, again)):
        task.begin_task(1)
        train(net, sgd(net), batches(seed=7))
    assert_same(weights_of(first), weights_of(second))


def test_a_state_of_another_form_is_refused() -> None:
    state = observed(mlp()).state_dict()
    model = mlp()
    projector = GradientProjector(model, sgd(model), max_features=8, sketch_rows=5)
    with pytest.raises(
        ValueError, match=r"0.weight: expected a state with the tensors"
    ):
        projector.load_state_dict(state)
    assert not projector.projections


def test_moments_of_another_form_are_refused() -> None:
    model = mlp()
    projector = GradientProjector(model, sgd(model), max_features=8, sketch_rows=5)
    message = "0.weight: expected a SketchedMoment, got a SecondMoment"
    with pytest.raises(TypeError, match=message):
        projector.consolidate(second_moments(model, batches()), damping=1.0)
    assert not projector.projections


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_features": 0}, "max_features must be an integer >= 1, got 0"),
        ({"max_features": 2.5}, "max_features must be an integer >= 1, got 2.5"),
        ({"sketch_rows": 0}, "sketch_rows must be an integer >= 1, got 0"),
    ],
)
def test_bounds_that_are_none_are_refused(options: dict, message: str) -> None:
    model = mlp()
    with pytest.raises(ValueError, match=message):
        RGO(model, sgd(model), **options)
    with pytest.raises(ValueError, match=message):
        second_moments(model, batches(), **options)


@pytest.mark.parametrize("project", ["gradient", "update"])
@pytest.mark.parametrize("normalize", [None, "none", "weights"])
def test_weights_are_scaled_only_if_it_is_said(project: str, normalize: Any) -> None:
    model = mlp()
    projector = GradientProjector(
        model, sgd(model), project=project, normalize=normalize
    )
    projector.consolidate(second_moments(model, batches()), damping=0.001)
    scaled = normalize == "weights"
    trace = projector.projections["0.weight"].trace()
    assert bool(torch.isclose(trace, torch.tensor(12.0))) == scaled
