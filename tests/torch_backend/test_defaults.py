"""What RGO's options are where they are left out: by optimizer, layers and vectors."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch_backend.learning import learner
from torch_backend.nets import mlp, sgd

from rgo_core import Relative
from rgo_core.damping import (
    LIMITED_DAMPING,
    MAP_DAMPING,
    UPDATE_DAMPING,
    Damping,
)
from rgo_torch import RGO, measured_damping, second_moments

# Of an encoded perceptron whose gradients are projected.
FLOORED = measured_damping("sample", "mean", scaled=False, floored=True)


def told(rgo: RGO, *options: str) -> list[Any]:
    """Return what a state says of options."""
    return [rgo.state_dict()["options"][name] for name in options]


def test_of_an_adaptive_optimizer_the_update_is_projected_and_the_summary_says_so() -> (
    None
):
    model = mlp()
    rgo = RGO(model, torch.optim.AdamW(model.parameters()))
    assert rgo.projector.project == "update"
    assert rgo.projector.normalize == "none"
    assert rgo.damping == UPDATE_DAMPING
    assert told(rgo, "per", "reduce") == [None, None]
    model = mlp()
    rgo = RGO(model, torch.optim.AdamW(model.parameters()), damping=0.1)
    assert (rgo.damping, told(rgo, "relative")) == (0.1, [False])
    assert "update is projected, not the gradient: AdamW adapts" in rgo.summary()
    model = mlp()
    rgo = RGO(model, sgd(model))
    assert rgo.projector.project == "gradient"
    assert rgo.damping == FLOORED
    assert "update is projected" not in rgo.summary()


def test_all_but_encoded_perceptrons_are_observed_by_squares_with_a_floor() -> None:
    def chosen(*own: nn.Module, **options: Any) -> tuple[Any, ...]:
        model = nn.Sequential(nn.Conv2d(2, 3, 3), *own, nn.Flatten(), nn.Linear(3, 2))
        rgo = RGO(model, sgd(model), **options)
        rgo.detach()
        return rgo.damping, *told(rgo, "per", "reduce", "curvature", "most")

    floored = ("sample", "rms", "floored")
    measured = measured_damping("sample", "rms", scaled=False, floored=True)
    bare = measured_damping("sample", "rms", encode=False, scaled=False, floored=True)
    faded = ("sample", "mean", "ground-truth", None)
    assert chosen() == (measured, *floored, None)
    assert chosen(nn.BatchNorm2d(3)) == (LIMITED_DAMPING, *floored, 0.1)
    assert chosen(damping=0.1) == (0.1, *floored, None)
    without = partial(second_moments, curvature="ground-truth")
    assert chosen(observe=without) == (Relative(0.03), *faded)
    # What was measured is the unscaled form, of gradients.
    by_means = partial(second_moments, reduce="mean")
    assert chosen(observe=by_means) == (Relative(0.03), *faded)
    assert chosen(normalize="weights") == (Relative(0.03), *faded)
    assert chosen(nn.BatchNorm2d(3), normalize="weights") == (Relative(0.03), *faded)
    assert chosen(encode=False) == (bare, *floored, None)
    assert chosen(nn.BatchNorm2d(3), encode=False)[0] == LIMITED_DAMPING
    assert chosen(observe=without, encode=False) == (
        measured_damping("sample", "mean", encode=False),
        *faded,
    )
    by_batches = partial(second_moments, per="batch")
    assert chosen(observe=by_batches)[:2] == (
        measured_damping("batch", "mean"),
        "batch",
    )
    # A convolution that is not protected has nothing to cancel.
    assert chosen(protect=["2"])[0] == FLOORED


def test_a_fully_convolutional_network_is_observed_at_each_position() -> None:
    def attached(*more: nn.Module, **options: Any) -> RGO:
        layers = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ConvTranspose2d(3, 2, 3)
        model = nn.Sequential(*layers, *more)
        kind = torch.optim.SGD if "project" in options else torch.optim.AdamW
        return RGO(model, kind(model.parameters(), lr=0.01), **options)

    found = attached()
    assert (found.damping, told(found, "per", "reduce")) == (
        MAP_DAMPING,
        ["position", "mean"],
    )
    assert "a vector for each position" in found.summary()
    assert attached(damping=0.1).damping == 0.1
    # Not where somebody chose, where a layer gives out no map, or gradients go.
    assert told(attached(observe=partial(second_moments, reduce="rms")), "per") == [
        "sample"
    ]
    dense = attached(nn.Flatten(), nn.Linear(2, 2))
    assert (dense.damping, told(dense, "per")) == (UPDATE_DAMPING, [None])
    assert told(attached(project="gradient"), "per") == ["sample"]


def beside_linear(*own: nn.Module) -> nn.Sequential:
    """Return modules before what the paper's networks have."""
    return nn.Sequential(*own, nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))


@pytest.mark.parametrize(
    ("own", "is_plain"),
    [
        ([], True),
        ([nn.Dropout()], True),
        ([nn.LayerNorm(6)], False),
        ([nn.PReLU()], False),
        ([nn.Bilinear(2, 3, 4)], False),
    ],
)
def test_projections_are_scaled_only_if_asked_for(
    own: list[nn.Module], is_plain: bool
) -> None:
    model = beside_linear(*own)

    def chosen(**options: Any) -> tuple[str, Damping]:
        rgo = RGO(model, sgd(model), **options)
        rgo.detach()
        return rgo.projector.normalize, rgo.damping

    scaled = measured_damping("sample", "mean") if is_plain else Relative(0.03)
    assert chosen() == ("none", FLOORED if is_plain else LIMITED_DAMPING)
    assert chosen(normalize="weights") == ("weights", scaled)
    assert chosen(encode=False) == ("none", 0.3 if is_plain else LIMITED_DAMPING)
    by_batch = partial(second_moments, per="batch")
    assert chosen(observe=by_batch) == ("none", measured_damping("batch", "mean"))
    assert chosen(damping=0.2) == ("none", 0.2)


def test_what_is_not_protected_is_not_asked_for_its_kind() -> None:
    model = beside_linear(nn.LayerNorm(6))
    rgo = RGO(model, sgd(model), protect=["1", "3"])
    assert rgo.damping == FLOORED


def test_the_damping_is_the_one_measured_for_the_vectors_unless_it_is_given() -> None:
    _, by_default = learner()
    by_batches = partial(second_moments, per="batch")
    _, by_batch = learner(observe=by_batches)
    _, given = learner(observe=by_batches, damping=0.5)
    assert by_default.damping == FLOORED
    assert by_batch.damping == measured_damping("batch", "mean")
    assert given.damping == 0.5


@pytest.mark.parametrize(
    ("options", "curvature", "damping"),
    [
        ({}, "floored", 0.3),
        ({"damping": 0.5}, "floored", 0.5),
        ({"damping": Relative(0.1)}, "ground-truth", Relative(0.1)),
        ({"normalize": "weights"}, "ground-truth", 0.03),
        ({"encode": False}, "floored", 0.3),
        ({"encode": False, "normalize": "weights"}, "ground-truth", 0.01),
        ({"project": "update"}, "ground-truth", UPDATE_DAMPING),
        ({"observe": partial(second_moments, per="batch")}, "ground-truth", 0.01),
        (
            {"observe": partial(second_moments, curvature="ground-truth")},
            "ground-truth",
            0.1,
        ),
        (
            {
                "observe": partial(second_moments, curvature="floored"),
                "damping": Relative(0.1),
            },
            "floored",
            Relative(0.1),
        ),
    ],
)
def test_curvature_has_a_floor_where_an_absolute_damping_was_measured_with_it(
    options: dict[str, Any], curvature: str, damping: Damping
) -> None:
    model = mlp()
    rgo = RGO(model, sgd(model), **options)
    assert (rgo.curvature, rgo.damping) == (curvature, damping)


def test_no_damping_was_measured_for_other_forms_with_a_floor() -> None:
    model = mlp()
    floored = partial(second_moments, curvature="floored")
    message = "given for curvature='floored' with per='sample', .* none was measured"
    with pytest.raises(ValueError, match=message):
        RGO(model, sgd(model), observe=floored, normalize="weights")
