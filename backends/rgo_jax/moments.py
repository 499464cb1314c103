"""Second moments of a network, to which curvature vectors are added by batches."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

import rgo_core
from rgo_core._checks import check_finite
from rgo_jax.double import check_kept_double, in_double
from rgo_jax.forms import Moment, empty_form
from rgo_jax.grown import check_grown
from rgo_jax.layout import Layout, find_layout, named_leaves
from rgo_jax.ranks import any_ranks
from rgo_jax.shardings import by_compiler


def empty_moments(params: Any, layout: Layout | None = None) -> dict[str, Moment]:
    """Return the second moments of no vectors at all, in float64.

    In the form that the layout says: whole, as a diagonal, or as a sketch.

    Parameters
    ----------
    params : pytree of arrays
    layout : Layout, optional
        `find_layout` of the parameters where None.

    Returns
    -------
    dict of str to SecondMoment, DiagonalMoment or SketchedMoment
        By path.

    Examples
    --------
    >>> import jax.numpy as jnp, rgo_jax
    >>> rgo_jax.empty_moments({"kernel": jnp.ones((3, 2))})["kernel"].matrix.dtype
    dtype('float64')
    """
    layout = find_layout(params) if layout is None else layout
    return {
        path: empty_form(path, tuple(leaf.shape), layout)
        for path, leaf in named_leaves(params)
        if path in layout.axes
    }


@any_ranks
def observe(
    moments: Mapping[str, Moment],
    vectors: Mapping[str, Array],
    *,
    share: float = 1.0,
) -> dict[str, Moment]:
    """Add curvature vectors to second moments: ``H + sum g g^T / share``.

    Parameters
    ----------
    moments : mapping of str to SecondMoment, DiagonalMoment or SketchedMoment
        By path, as `empty_moments` makes them, of JAX or of NumPy; one that is missing
        starts from an empty whole one.
    vectors : mapping of str to array (groups..., v, n)
    share : float
        How much of the task's samples is observed in all, in (0, 1], where that is a
        part drawn at random: ``2000 / 10_000``, say. Each then stands for ``1 / share``
        (`rgo_core.extrapolate`), so that a damping keeps its meaning.

    Returns
    -------
    dict of str to SecondMoment, DiagonalMoment or SketchedMoment

    Raises
    ------
    TypeError, ValueError
        As `rgo_core.observe` does. Under a JAX transformation values cannot be checked:
        NaN and infinity then reach the second moment, and `end_task` refuses it.

    Notes
    -----
    Costs ``v n^2`` multiplications in float64, whatever `jax_enable_x64` says. Pure;
    may be compiled, scanned and mapped. Compute with second moments by functions of
    this package only: outside of float64's scope JAX rounds what it touches.

    Examples
    --------
    >>> import jax.numpy as jnp, rgo_jax
    >>> moments = rgo_jax.observe({}, {"kernel": jnp.asarray([[1.0, 2.0]])})
    >>> moments["kernel"].matrix
    Array([[1., 2.],
           [2., 4.]], dtype=float64)
    """
    for path, rows in vectors.items():
        check_finite(f"{path}: vectors", rows, jnp)
        if path in moments:
            check_kept_double(path, moments[path])
            check_grown(path, moments[path], rows)
    add = in_double(partial(_observe, share))
    seen = {
        path: by_compiler(add, moments[path] if path in moments else _empty(rows), rows)
        for path, rows in vectors.items()
    }
    return {**moments, **seen}


def _observe(share: float, moment: Any, rows: Array) -> Any:
    seen = moment._replace(count=jnp.zeros((), jnp.int64))
    after = rgo_core.observe(seen, rows, share=share, xp=jnp)
    # The count of a stack of moments has its axes too.
    return after._replace(count=moment.count + after.count)


def _empty(rows: Array) -> Moment:
    *groups, _, n = rows.shape
    with jax.enable_x64(True):
        return rgo_core.empty_moment(n, groups=tuple(groups), xp=jnp)
