"""How much of a step a projection leaves free."""

from rgo_core._checks import check_floating, check_square
from rgo_core._matrices import widened
from rgo_core._namespace import resolve
from rgo_core._typing import Array, Namespace
from rgo_core.diagonal import DiagonalProjection
from rgo_core.projection import Projection
from rgo_core.sketch import LowRankProjection


def plasticity(projection: Projection, *, xp: Namespace | None = None) -> Array:
    """Return the mean fraction of a step that is still free: ``trace(Q) / n``.

    1 where nothing was observed, 0 where every direction is closed. By Theorem 1's
    argument it is the share of an isotropic gradient's squared length that is left.

    Parameters
    ----------
    projection : array (..., n, n), DiagonalProjection or LowRankProjection
        Q, raw: ``consolidate(moment, damping, normalized=False)``. Of a normalised
        projection the fraction is always 1, for its step is made longer by just what
        was lost; see `free_directions`.
    xp : namespace, optional
        The array namespace; that of the array where None.

    Returns
    -------
    array (...)
        In float32 at the least.

    Raises
    ------
    TypeError
        If the array is not real floating-point.
    ValueError
        If its last two axes differ.

    Notes
    -----
    Costs ``n^2`` multiplications for a matrix, n for a diagonal, ``l^2 n`` for l
    directions.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> float(rgo_core.plasticity(np.diag([1.0, 0.0, 0.0, 0.0])))
    0.25
    """
    mean, _, _ = _traces(projection, xp)
    return mean


def free_directions(projection: Projection, *, xp: Namespace | None = None) -> Array:
    """Return the effective number of free directions: ``trace(P)^2 / trace(P^2)``.

    n for the identity, k for the orthogonal projection onto k directions. It does not
    depend on the scale of P, normalised or raw. Where all directions are closed alike
    it is n again, since normalisation reopens them all.

    Parameters
    ----------
    projection : array (..., n, n), DiagonalProjection or LowRankProjection
        Symmetric positive semi-definite, not zero.
    xp : namespace, optional
        The array namespace; that of the array where None.

    Returns
    -------
    array (...)
        From 1 to n, in float32 at the least.

    Raises
    ------
    TypeError
        If the array is not real floating-point.
    ValueError
        If its last two axes differ.

    Notes
    -----
    Costs what `plasticity` does.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> float(rgo_core.free_directions(np.diag([2.0, 2.0, 0.0])))
    2.0
    """
    _, square, n = _traces(projection, xp)
    return n * (n / square)


def _traces(projection: Projection, xp: Namespace | None) -> tuple[Array, Array, int]:
    """Return the mean eigenvalue of P, of any form, trace(P^2) in its unit, and n.

    The unit is divided out before anything is squared, for squares may overflow.
    """
    if isinstance(projection, DiagonalProjection):
        scales = projection.diagonal
        xp = resolve(xp, scales)
        check_floating("projection.diagonal", scales, xp)
        scales = widened(scales, xp)
        n = scales.shape[-1]
        mean = xp.sum(scales, axis=-1) / n
        shares = scales / mean[..., None]
        return mean, xp.sum(shares * shares, axis=-1), n
    if isinstance(projection, LowRankProjection):
        factor, scale = projection
        xp = resolve(xp, factor)
        check_floating("projection.factor", factor, xp)
        factor = widened(factor, xp)
        n, gram = factor.shape[-1], factor @ factor.mT
        once = xp.linalg.trace(gram)
        twice = xp.sum(gram * gram, axis=(-2, -1))
        left = (n - once) / n
        return scale * left, (n - 2 * once + twice) / (left * left), n
    xp = resolve(xp, projection)
    check_floating("projection", projection, xp)
    check_square("projection", projection)
    projection = widened(projection, xp)
    n = projection.shape[-1]
    mean = xp.linalg.trace(projection) / n
    shares = projection / mean[..., None, None]
    return mean, xp.sum(shares * shares, axis=(-2, -1)), n
