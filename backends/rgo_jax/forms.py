"""The forms of second moments and projections, by the layout of their parameter."""

from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array

import rgo_core
from rgo_core import (
    Axes,
    DiagonalMoment,
    DiagonalProjection,
    LowRankProjection,
    SecondMoment,
    SketchedMoment,
)
from rgo_core.second_moment import traces
from rgo_jax.double import in_double
from rgo_jax.layout import Layout

Moment: TypeAlias = SecondMoment | DiagonalMoment | SketchedMoment
# An array, a DiagonalProjection or a LowRankProjection, which the type of a state that
# most often holds arrays need not tell apart.
Projection: TypeAlias = Any


def empty_form(path: str, shape: tuple[int, ...], layout: Layout) -> Moment:
    """Return the second moment of nothing that the layout keeps of a parameter."""
    axes = layout.axes[path]
    n, groups = rgo_core.features(shape, axes), rgo_core.group_shape(shape, axes)
    with jax.enable_x64(True):
        if axes.diagonal:
            return rgo_core.empty_diagonal(n, groups=groups, xp=jnp)
        if path in layout.sketched:
            rows = layout.sketched[path]
            return rgo_core.empty_sketch(n, rows, groups=groups, xp=jnp)
        return rgo_core.empty_moment(n, groups=groups, xp=jnp)


def identity_form(path: str, leaf: Any, layout: Layout) -> Projection:
    """Return the identity in the form of the projections of a parameter."""
    axes, dtype = layout.axes[path], jnp.promote_types(leaf.dtype, jnp.float32)
    n = rgo_core.features(leaf.shape, axes)
    groups = rgo_core.group_shape(leaf.shape, axes)
    if axes.diagonal:
        return DiagonalProjection(jnp.ones((*groups, n), dtype))
    if path in layout.sketched:
        factor = jnp.zeros((*groups, layout.sketched[path], n), dtype)
        return LowRankProjection(factor, jnp.ones(groups, dtype))
    return jnp.broadcast_to(jnp.eye(n, dtype=dtype), (*groups, n, n))


def fits(axes: Axes, shape: tuple[int, ...], projection: Projection) -> bool:
    """Tell whether a projection is that of a parameter with these axes."""
    main = main_array(projection)
    own = 1 if isinstance(projection, DiagonalProjection) else 2
    expected = (*rgo_core.group_shape(shape, axes), rgo_core.features(shape, axes))
    found = (*main.shape[: main.ndim - own], main.shape[-1])
    return axes.diagonal == (own == 1) and found == expected


def main_array(form: Moment | Projection) -> Any:
    """Return the array that tells the shape of a second moment or projection."""
    return form[0] if isinstance(form, tuple) else form


def trace(moment: Moment) -> Array:
    """Return the trace of H, of each group, in double precision."""
    found: Array = in_double(partial(traces, xp=jnp))(moment)
    return found


def moment_kind(projection: Projection) -> type[Moment]:
    """Return the form of the second moments that a projection is made of."""
    if isinstance(projection, DiagonalProjection):
        return DiagonalMoment
    return SketchedMoment if isinstance(projection, LowRankProjection) else SecondMoment
