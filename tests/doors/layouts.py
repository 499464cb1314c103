"""Doors of layouts: which parameters there are, and along which axes."""

from functools import partial
from typing import Any

import jax.numpy as jnp
import torch
from doors.one_layer import (
    PARAMS,
    B,
    Door,
    M,
    Y,
    both,
    linear,
    of_torch,
    project_with_torch,
)

import rgo_jax
import rgo_torch
from rgo_core import Axes


def layout_with_torch(overrides: Any = None, **options: Any) -> Any:
    rgo_torch.find_layout(linear(), overrides)
    return project_with_torch(**options)


def layout_with_jax(overrides: Any = None, **options: Any) -> Any:
    return rgo_jax.find_layout(PARAMS, overrides, **options)


def nothing_with_torch() -> None:
    rgo_torch.second_moments(torch.nn.ReLU(), [(torch.ones(B, M), of_torch(Y))])


def nothing_with_jax() -> None:
    params = {"steps": jnp.zeros(3, int)}
    batch = jnp.ones((B, M)), jnp.asarray(Y)
    score = partial(lambda params, batch: rgo_jax.softmax_score(*batch))
    rgo_jax.curvature_vectors(score, params, batch)


def none_to_project_with_torch() -> None:
    optimizer = torch.optim.SGD(linear().parameters(), lr=0.1)
    rgo_torch.GradientProjector(torch.nn.ReLU(), optimizer)


layout = partial(both, layout_with_torch, layout_with_jax)
LAYOUTS: dict[str, Door] = {
    "axes of no parameter": layout(
        ValueError, r"must name parameters .*got \['head'\]", {"head": None}
    ),
    "axes that do not fit": layout(
        ValueError, "weight: inputs, outputs and groups must", {"weight": Axes((0,))}
    ),
    "axes that are none": layout(
        TypeError,
        r"\['weight'\] must be Axes or None, got \(0, 1\)",
        {"weight": (0, 1)},
    ),
    **{
        f"{option}={bad}": layout(
            ValueError, f"{option} must be an integer >= 1, got {bad}", **{option: bad}
        )
        for option in ("max_features", "sketch_rows")
        for bad in (0, 1.5)
    },
    "no parameter to project": Door(
        none_to_project_with_torch,
        lambda: rgo_jax.project_gradients().init({}),
        ValueError,
        "no parameter to project|nothing to project",
    ),
    "no parameter to observe": Door(
        nothing_with_torch,
        nothing_with_jax,
        ValueError,
        "no score depends on the output of a protected|no parameter to observe",
    ),
}
