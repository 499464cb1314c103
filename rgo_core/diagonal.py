"""The second moment of inputs that never meet, and its projection: diagonals, both.

An embedding looks up one row at a time, and a normalisation scales entry by entry:
of their second moments the diagonal is all there is to protect, or all that can be
afforded.
"""

from typing import NamedTuple

import numpy as np
from array_api_compat import is_numpy_namespace, is_torch_namespace

from rgo_core._checks import (
    check_double,
    check_finite,
    check_floating,
    check_integer,
    check_not_negative,
)
from rgo_core._typing import Array, Namespace
from rgo_core.damping import Damping, alpha_of


class DiagonalMoment(NamedTuple):
    """The diagonal of the uncentred sum of g g^T: the sum of the entries' squares."""

    diagonal: Array  # (..., n) float64
    count: Array  # () int64, vectors seen


class DiagonalProjection(NamedTuple):
    """A projection that multiplies each feature by a number of its own."""

    diagonal: Array  # (..., n)


def empty_diagonal(
    features: int,
    *,
    groups: tuple[int, ...] = (),
    device: object = None,
    xp: Namespace | None = None,
) -> DiagonalMoment:
    """Return the diagonal second moment of no vectors at all.

    Parameters
    ----------
    features : int
        n, the length of a curvature vector.
    groups : tuple of int
        Leading batch axes.
    device : optional
        Where the arrays live; the namespace's default where None.
    xp : namespace, optional
        The array namespace; NumPy where None.

    Returns
    -------
    DiagonalMoment
        Zeros of shape ``(*groups, n)`` in float64, and a count of zero.

    Raises
    ------
    ValueError
        If `features` is not a positive integer.
    TypeError
        If the namespace has no float64 (JAX without ``jax_enable_x64``).

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> moment = rgo_core.empty_diagonal(2)
    >>> moment = rgo_core.observe(moment, np.asarray([[1.0, 0.0], [1.0, 0.0]]))
    >>> P = rgo_core.consolidate(moment, damping=1.0)
    >>> rgo_core.project(P, np.ones(2), axis=-1)
    array([0.5, 1.5])
    """
    check_integer("features", features, 1)
    xp = np if xp is None else xp
    diagonal = xp.zeros((*groups, features), dtype=xp.float64, device=device)
    check_double("a second moment", diagonal, xp)
    return DiagonalMoment(diagonal, xp.zeros((), dtype=xp.int64, device=device))


def observe_diagonal(
    moment: DiagonalMoment, rows: Array, *, donate: bool, xp: Namespace
) -> DiagonalMoment:
    """Add the squares of float64 vectors (..., r, n)."""
    diagonal = moment.diagonal
    squares = xp.sum(rows * rows, axis=-2)
    if donate and (is_torch_namespace(xp) or is_numpy_namespace(xp)):
        diagonal += squares
    else:
        diagonal = diagonal + squares
    return DiagonalMoment(diagonal, moment.count + rows.shape[-2])


def consolidate_diagonal(
    moment: DiagonalMoment,
    damping: Damping,
    *,
    looked_up: bool,
    normalized: bool,
    xp: Namespace,
) -> DiagonalProjection:
    """Return ``1 / (1 + h / damping)``, of sum n where normalized."""
    h = moment.diagonal
    check_floating("moment.diagonal", h, xp)
    check_double("moment.diagonal", h, xp)
    check_finite("moment.diagonal", h, xp)
    check_not_negative("moment.diagonal", h, xp)
    alpha = alpha_of(damping, _mean(h, looked_up, xp), xp)
    q = alpha / (alpha + h)
    if normalized:
        q = q * (q.shape[-1] / xp.sum(q, axis=-1, keepdims=True))
    check_finite(f"1 / (1 + h / damping), for damping = {damping},", q, xp)
    return DiagonalProjection(q)


def _mean(h: Array, looked_up: bool, xp: Namespace) -> Array:
    """Return the mean of h, weighted by h itself where rows are looked up.

    Most words of a vocabulary are rare: a plain mean over them is so small that all
    that are met would be closed.
    """
    mean = xp.mean(h, axis=-1, keepdims=True)
    if not looked_up:
        return mean
    return xp.mean(h * (h / xp.where(mean > 0, mean, 1.0)), axis=-1, keepdims=True)


def project_diagonal(
    projection: DiagonalProjection, gradient: Array, axis: int
) -> Array:
    """Multiply each feature along `axis`."""
    scales = projection.diagonal
    if gradient.ndim == 1:
        return gradient * scales
    return gradient * (scales[..., :, None] if axis == -2 else scales[..., None, :])
