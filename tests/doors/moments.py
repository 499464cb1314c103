"""Doors of a task's end: second moments, and the options that they are taken with."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import torch
from doors.batches import observe_with_jax, observe_with_torch
from doors.one_layer import (
    INF,
    NAN,
    Door,
    both,
    project_with_jax,
    project_with_torch,
)

import rgo_jax
from rgo_core import DiagonalMoment, SecondMoment


@cache
def moments_of_jax() -> Any:
    """Return what every row begins with: JAX compiles the pass once."""
    return observe_with_jax()


def end_with_torch(change: Any = lambda moments: moments, **options: Any) -> Any:
    projector = project_with_torch()
    moments = change(observe_with_torch())
    return projector.consolidate(moments, **{"damping": 0.1, **options})


def end_with_jax(change: Any = lambda moments: moments, **options: Any) -> Any:
    state = project_with_jax()
    with jax.enable_x64(True):  # to change them in float64
        moments = change(moments_of_jax())
    return rgo_jax.end_task(state, moments, **options)


# --- what is changed of second moments, in either


def of_weight(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda moments: {**moments, "weight": change(moments["weight"])}


def of_matrix(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return of_weight(lambda moment: moment._replace(matrix=change(moment.matrix)))


def in_single(matrix: Any) -> Any:
    is_torch = isinstance(matrix, torch.Tensor)
    return matrix.float() if is_torch else matrix.astype(jnp.float32)


def skewed(matrix: Any) -> Any:
    is_torch = isinstance(matrix, torch.Tensor)
    return matrix + (torch if is_torch else jnp).triu(0 * matrix + 1, 1)


def diagonal(moment: Any) -> Any:
    return DiagonalMoment(moment.matrix.diagonal(), moment.count)


def zeros(moments: Any) -> Any:
    return {
        name: SecondMoment(0 * moment.matrix, moment.count)
        for name, moment in moments.items()
    }


end = partial(both, end_with_torch, end_with_jax)
MOMENTS: dict[str, Door] = {
    # options
    **{
        f"damping={bad!r}": end(
            ValueError, "damping must be a finite number > 0, got", damping=bad
        )
        for bad in (0, -1.0, NAN, INF, "0.1", True)
    },
    "normalize": Door(
        partial(project_with_torch, normalize="foo"),
        partial(end_with_jax, normalize="foo"),
        ValueError,
        "normalize must be .*'weights' or 'all' or 'none', got 'foo'",
    ),
    "biases by their old name": Door(
        partial(project_with_torch, biases="foo"),
        partial(end_with_jax, biases="foo"),
        ValueError,
        "biases must be 'raw' or 'normalized', got 'foo'",
    ),
    # second moments
    "moments in a list": end(
        TypeError, "moments must be a mapping .* got a list", lambda m: list(m.values())
    ),
    "no moments": end(ValueError, "at least one parameter, got none", lambda m: {}),
    "moments of zeros": end(ValueError, "at least one vector .* got none", zeros),
    "a moment of no parameter": end(
        ValueError,
        r"moments must be named after projected parameters, got \['head'\]",
        lambda m: {**m, "head": m["weight"]},
    ),
    "a moment of another width": end(
        ValueError,
        r"weight: expected .*of shape \(3, 3\), got \(4, 4\)",
        lambda m: {**m, "weight": m["bias"]},
    ),
    "a moment of another form": end(
        TypeError,
        "weight: expected a SecondMoment.* got a DiagonalMoment",
        of_weight(diagonal),
    ),
    "a moment without a count": end(
        TypeError, "weight: expected a SecondMoment", of_weight(lambda m: m.matrix)
    ),
    "a moment of lists": end(
        TypeError,
        "weight: expected .* got .*list",
        of_matrix(lambda matrix: matrix.tolist()),
    ),
    "a moment in float32": end(
        TypeError, "weight: expected .* in float64, got .*float32", of_matrix(in_single)
    ),
    **{
        f"a moment of {bad}": end(
            ValueError,
            "weight: .* finite.* got",
            of_matrix(lambda matrix, bad=bad: matrix * bad),
        )
        for bad in (NAN, INF)
    },
    "a moment that is not symmetric": end(
        ValueError, "moment.matrix must be symmetric", of_matrix(skewed)
    ),
    "a moment that is negative": end(
        ValueError, "is not positive definite", of_matrix(lambda matrix: -9 * matrix)
    ),
}
