"""What a projection P is: its forms, its scale, and how it looks as a matrix.

P is called a projection as in the paper. It is symmetric positive definite and *not*
idempotent: projecting twice is not projecting once. It has the form of the second
moment that it comes from: a matrix, a diagonal, or the identity minus few directions.
"""

from typing import TypeAlias

from rgo_core._checks import check_floating, check_square
from rgo_core._matrices import identity, symmetrized
from rgo_core._namespace import resolve
from rgo_core._typing import Array, Namespace
from rgo_core.diagonal import DiagonalProjection
from rgo_core.sketch import LowRankProjection

# A matrix (..., n, n), or what acts as one.
Projection: TypeAlias = Array | DiagonalProjection | LowRankProjection


def normalize(projection: Array, *, xp: Namespace | None = None) -> Array:
    """Scale a projection to trace n: ``n / trace(P) * P``.

    The scale keeps the learning rate what it was: for isotropic gradients a step and
    a projected step have the same expected product with the gradient (Theorem 1).

    Parameters
    ----------
    projection : array (..., n, n)
        With a positive trace.
    xp : namespace, optional
        The array namespace; that of the array where None.

    Returns
    -------
    array (..., n, n)

    Raises
    ------
    TypeError
        If the array is not real floating-point.
    ValueError
        If the last two axes differ.

    References
    ----------
    Liu and Liu (2022), Theorem 1.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> rgo_core.normalize(np.diag([1.0, 3.0]))
    array([[0.5, 0. ],
           [0. , 1.5]])
    """
    xp = resolve(xp, projection)
    check_floating("projection", projection, xp)
    check_square("projection", projection)
    trace = xp.linalg.trace(projection)
    return projection * (projection.shape[-1] / trace)[..., None, None]


def as_matrix(projection: Projection, *, xp: Namespace | None = None) -> Array:
    """Return a projection of any form as a matrix.

    Parameters
    ----------
    projection : array (..., n, n), DiagonalProjection or LowRankProjection
    xp : namespace, optional
        The array namespace; that of the arrays where None.

    Returns
    -------
    array (..., n, n)
        Bitwise symmetric where `projection` is.

    Raises
    ------
    ValueError
        If an array's last two axes differ.

    Notes
    -----
    ``n^2`` numbers and, of low rank, ``n^2 l`` multiplications: to look at, not to
    project with.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> rgo_core.as_matrix(rgo_core.DiagonalProjection(np.asarray([0.5, 1.5])))
    array([[0.5, 0. ],
           [0. , 1.5]])
    """
    if isinstance(projection, DiagonalProjection):
        scales = projection.diagonal
        xp = resolve(xp, scales)
        return scales[..., None] * identity(scales.shape[-1], scales, xp)
    if isinstance(projection, LowRankProjection):
        factor, scale = projection
        xp = resolve(xp, factor)
        closed = symmetrized(factor.mT @ factor)
        left = identity(factor.shape[-1], factor, xp) - closed
        return scale[..., None, None] * left
    check_square("projection", projection)
    return projection
