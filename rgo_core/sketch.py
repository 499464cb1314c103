"""The second moment of many features in the memory of few: Frequent Directions.

l rows S stand for the n x n matrix H, so that ``0 <= H - S^T S <= shrunk``. Adding
vectors to the rows makes them too many; of the singular values of all, the squares
shrink by the (l + 1)-th, which leaves l. What was shrunk in all, halved, is the best
multiple of the identity to add: ``H = S^T S + shrunk / 2`` to within ``shrunk / 2``.
"""

from typing import NamedTuple

import numpy as np

from rgo_core._checks import (
    check_double,
    check_finite,
    check_floating,
    check_integer,
    check_not_negative,
)
from rgo_core._gram import eigh_gram
from rgo_core._namespace import is_traced, resolve
from rgo_core._typing import Array, Namespace
from rgo_core.damping import Damping, alpha_of

# As many vectors at once as there are rows cost least; so few cost calls.
LEAST_BLOCK = 64


class SketchedMoment(NamedTuple):
    """A sketch of the uncentred sum of g g^T over all curvature vectors seen."""

    rows: Array  # (..., l, n) float64, S
    shrunk: Array  # (...) float64, what H - S^T S is at most, along any direction
    trace: Array  # (...) float64, of H, exact
    count: Array  # () int64, vectors seen


class LowRankProjection(NamedTuple):
    """The projection ``scale (I - U^T U)``, never formed."""

    factor: Array  # (..., l, n), U
    scale: Array  # (...)


def empty_sketch(
    features: int,
    rows: int,
    *,
    groups: tuple[int, ...] = (),
    device: object = None,
    xp: Namespace | None = None,
) -> SketchedMoment:
    """Return the sketched second moment of no vectors at all.

    Parameters
    ----------
    features : int
        n, the length of a curvature vector.
    rows : int
        l, from 1 to n. H is exact while its rank is at most l; beyond that the error in
        any direction is at most ``sum_{j > k} lambda_j / (l + 1 - k)``, for every
        ``k <= l``, with lambda_j the eigenvalues of H in descending order.
    groups : tuple of int
        Leading batch axes.
    device : optional
        Where the arrays live; the namespace's default where None.
    xp : namespace, optional
        The array namespace; NumPy where None.

    Returns
    -------
    SketchedMoment
        Zeros, of shape ``(*groups, l, n)``, in float64, and a count of zero.

    Raises
    ------
    ValueError
        If `features` or `rows` is not a positive integer, or there are more rows than
        features.
    TypeError
        If the namespace has no float64 (JAX without ``jax_enable_x64``).

    Notes
    -----
    To observe costs about ``6 l n`` multiplications a vector and an eigendecomposition
    of 2 l x 2 l every l vectors, with 64 for l where it is less; to merge ``6 l^2 n``,
    to consolidate a third of it; to project ``2 n l m`` in place of ``n^2 m``.

    References
    ----------
    Ghashami, Liberty, Phillips, Woodruff, "Frequent Directions: Simple and
    Deterministic Matrix Sketching", SIAM J. Comput. 2016; Luo, Chen, Zhang, Li, Zhang,
    "Robust Frequent Directions with Application in Online Learning", JMLR 2019.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> sketch = rgo_core.empty_sketch(3, rows=1)
    >>> sketch = rgo_core.observe(sketch, np.diag([3.0, 1.0, 0.0]))
    >>> float(sketch.shrunk), float(sketch.trace)
    (1.0, 10.0)
    """
    check_integer("features", features, 1)
    check_integer("rows", rows, 1)
    if rows > features:
        raise ValueError(
            f"rows must be at most the {features} features, got {rows}: keep the "
            "second moment itself, by empty_moment"
        )
    xp = np if xp is None else xp
    zeros = xp.zeros((*groups, rows, features), dtype=xp.float64, device=device)
    check_double("a second moment", zeros, xp)
    number = xp.zeros(groups, dtype=xp.float64, device=device)
    count = xp.zeros((), dtype=xp.int64, device=device)
    return SketchedMoment(zeros, number, number + 0.0, count)


def observe_sketch(
    moment: SketchedMoment, vectors: Array, *, xp: Namespace
) -> SketchedMoment:
    """Add float64 vectors (..., r, n), block by block."""
    rows, shrunk, trace, count = moment
    total, size = vectors.shape[-2], max(rows.shape[-2], LEAST_BLOCK)
    for start in range(0, total, size):
        block = vectors[..., start : min(start + size, total), :]
        rows, cut = _shrink(xp.concat([rows, block], axis=-2), rows.shape[-2], xp)
        shrunk = shrunk + cut
    trace = trace + xp.sum(vectors * vectors, axis=(-2, -1))
    return SketchedMoment(rows, shrunk, trace, count + vectors.shape[-2])


def merge_sketches(first: SketchedMoment, second: SketchedMoment) -> SketchedMoment:
    """Sketch the rows of both; what was shrunk adds up."""
    xp = resolve(None, first.rows, second.rows)
    stacked = xp.concat([first.rows, second.rows], axis=-2)
    rows, cut = _shrink(stacked, first.rows.shape[-2], xp)
    return SketchedMoment(
        rows,
        first.shrunk + second.shrunk + cut,
        first.trace + second.trace,
        first.count + second.count,
    )


def consolidate_sketch(
    moment: SketchedMoment,
    damping: Damping,
    *,
    normalized: bool,
    xp: Namespace,
) -> LowRankProjection:
    """Return the projection of ``S^T S + shrunk / 2``.

    ``(I + H / alpha)^-1 = alpha / shift (I - S^T (S S^T + shift)^-1 S)`` with
    ``shift = alpha + shrunk / 2``: what was shrunk is damping more. With the
    eigenvectors of ``S S^T`` the subtrahend is ``U^T U``.
    """
    rows = moment.rows
    _check_sketch(moment, xp)
    count, n = rows.shape[-2:]
    alpha = alpha_of(damping, moment.trace / n, xp) * xp.ones_like(moment.trace)
    shift = alpha + moment.shrunk / 2
    values, vectors = eigh_gram(rows @ rows.mT, xp)
    values = xp.where(values > 0, values, xp.zeros_like(values))
    _check_resolved(damping, shift, values, xp)
    total = values + shift[..., None]
    factor = (vectors.mT @ rows) / xp.sqrt(total)[..., None]
    if count == n:
        # What closes all directions goes into the scale: I - U^T U would be rounding.
        shift, closed = shift + values[..., 0], values - values[..., :1]
        known = xp.where(closed > 0, values, xp.ones_like(values))
        factor = factor * xp.sqrt(closed / known)[..., None]
    # The sum of what is left along the rows: 1 - |U_i|^2 without cancellation.
    left = xp.sum(shift[..., None] / total, axis=-1)
    scale = n / (n - count + left) if normalized else alpha / shift
    return LowRankProjection(factor, scale)


def project_low_rank(
    projection: LowRankProjection, gradient: Array, axis: int
) -> Array:
    """Return ``scale (G - U^T (U G))``, or that of rows."""
    factor, scale = projection
    if gradient.ndim == 1:
        return (gradient - (factor @ gradient) @ factor) * scale
    scale = scale[..., None, None]
    if axis == -2:
        return (gradient - factor.mT @ (factor @ gradient)) * scale
    return (gradient - (gradient @ factor.mT) @ factor) * scale


def _shrink(stacked: Array, keep: int, xp: Namespace) -> tuple[Array, Array]:
    """Return `keep` rows (..., keep, n) for those stacked, and the square cut off.

    Through the smaller of the two Gram matrices. Its rounding, of eps times the largest
    eigenvalue, is that of H itself, and nothing is said to be cut for it.
    """
    count, n = stacked.shape[-2:]
    if count <= n:
        values, vectors = eigh_gram(stacked @ stacked.mT, xp)
        turned = xp.flip(vectors, axis=-1)[..., :keep].mT @ stacked
    else:
        values, vectors = eigh_gram(stacked.mT @ stacked, xp)
        lengths = xp.sqrt(xp.where(values > 0, values, xp.zeros_like(values)))
        turned = xp.flip(vectors * lengths[..., None, :], axis=-1)[..., :keep].mT
    values = xp.flip(values, axis=-1)
    kept = values[..., :keep]
    cut = xp.zeros_like(values[..., 0])
    if keep < values.shape[-1]:
        rounding = 4 * xp.finfo(values.dtype).eps * values[..., 0]
        cut = xp.where(values[..., keep] > rounding, values[..., keep], cut)
    positive = kept > cut[..., None]
    share = (kept - cut[..., None]) / xp.where(positive, kept, xp.ones_like(kept))
    share = xp.where(positive, share, xp.zeros_like(share))
    return xp.sqrt(share)[..., None] * turned, cut


def _check_sketch(moment: SketchedMoment, xp: Namespace) -> None:
    rows = moment.rows
    check_floating("moment.rows", rows, xp)
    check_double("moment.rows", rows, xp)
    if rows.ndim < 2 or rows.shape[-2] > rows.shape[-1]:
        raise ValueError(
            "moment.rows must have shape (..., l, n) with l <= n, "
            f"got {tuple(rows.shape)}"
        )
    check_finite("moment.rows", rows, xp)
    for name in ("shrunk", "trace"):
        number = getattr(moment, name)
        if tuple(number.shape) != tuple(rows.shape[:-2]):
            raise ValueError(
                f"moment.{name} must have shape {tuple(rows.shape[:-2])}, "
                f"got {tuple(number.shape)}"
            )
        check_finite(f"moment.{name}", number, xp)
        check_not_negative(f"moment.{name}", number, xp)


def _check_resolved(
    damping: Damping, shift: Array, values: Array, xp: Namespace
) -> None:
    """Raise ValueError where float64 cannot tell ``1 / (1 + value / shift)`` from 0."""
    largest = xp.max(values, axis=-1)
    lost = xp.any(shift < xp.finfo(values.dtype).eps * largest)
    if not is_traced(lost) and bool(lost):
        raise ValueError(
            f"I + H / damping is not positive definite in float64: damping = {damping} "
            f"is too small for a second moment whose largest eigenvalue is "
            f"{float(xp.max(largest)):.3g}; raise it"
        )
