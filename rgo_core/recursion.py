"""Algorithm 1 as printed: recursive least squares on the projection itself.

The library keeps the information form (`rgo_core.second_moment`); the recursion is the
paper's, the online form, and the oracle that the tests hold the other form against.
"""

import numpy as np

from rgo_core._checks import (
    check_features,
    check_finite,
    check_floating,
    check_positive,
    check_square,
)
from rgo_core._matrices import identity, symmetrized, widened
from rgo_core._namespace import is_traced, resolve
from rgo_core._spd import spd_inverse
from rgo_core._typing import Array, Namespace


def gain(projection: Array, vector: Array) -> Array:
    """Return the gain ``k = P g`` of a curvature vector.

    Parameters
    ----------
    projection : array (..., n, n)
        Raw, that is, not normalised.
    vector : array (..., n)

    Returns
    -------
    array (..., n)

    Raises
    ------
    ValueError
        If the shapes do not fit.

    References
    ----------
    Liu and Liu (2022), Algorithm 1.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> rgo_core.gain(np.diag([1.0, 2.0]), np.asarray([1.0, 1.0]))
    array([1., 2.])
    """
    check_square("projection", projection)
    check_features("vector", vector, -1, projection.shape[-1])
    return (projection @ vector[..., None])[..., 0]


def update_projection(
    projection: Array, vectors: Array, damping: float, *, xp: Namespace | None = None
) -> Array:
    """Fold one curvature vector, or a block of them, into a raw projection.

    One vector: ``P - k k^T / (alpha + g^T k)`` with ``k = P g`` (Sherman-Morrison). A
    block V of r vectors: ``P - K^T (alpha I + V K^T)^-1 K``, ``K = V P`` (Woodbury).

    Parameters
    ----------
    projection : array (..., n, n)
        P, raw: not normalised. The identity at the start.
    vectors : array (..., n) or (..., r, n)
        One vector has one axis less than P, a block of rows as many.
    damping : float
        alpha > 0.
    xp : namespace, optional
        The array namespace; that of the arrays where None.

    Returns
    -------
    array (..., n, n)
        Bitwise symmetric where P is.

    Raises
    ------
    TypeError
        If the arrays are not real floating-point.
    ValueError
        If shapes do not fit, `damping` is not a finite number > 0, a vector holds NaN
        or infinity, vectors are too long for the dtype or the damping, or P is not
        positive definite along them any more.

    Notes
    -----
    Costs ``2 n^2`` for a vector and ``2 r n^2 + 2 r^2 n + r^3`` for a block. Everything
    is done in the dtype of P, float32 at the least, which drifts, and fails for
    ill-conditioned vectors.

    References
    ----------
    Liu and Liu (2022), Algorithm 1; appendix B.2 for the cost.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> rgo_core.update_projection(np.eye(2), np.asarray([3.0, 0.0]), damping=1.0)
    array([[0.1, 0. ],
           [0. , 1. ]])
    """
    xp = resolve(xp, projection, vectors)
    check_floating("projection", projection, xp)
    check_floating("vectors", vectors, xp)
    check_square("projection", projection)
    check_features("vectors", vectors, -1, projection.shape[-1])
    check_positive("damping", damping)
    _check_leading(projection, vectors)
    check_finite("vectors", vectors, xp)
    P = widened(projection, xp)  # no library has factors in half precision
    vectors = xp.astype(vectors, P.dtype, copy=False)
    damping = float(damping)  # a NumPy scalar would bring its dtype
    update = _rank_one if vectors.ndim < P.ndim else _block
    return xp.astype(update(P, vectors, damping, xp), projection.dtype, copy=False)


def _check_leading(projection: Array, vectors: Array) -> None:
    if vectors.ndim not in (projection.ndim - 1, projection.ndim):
        raise ValueError(
            "vectors must be one vector (..., n) or a block (..., r, n) for a "
            f"projection of shape {tuple(projection.shape)}, got {tuple(vectors.shape)}"
        )
    leading = vectors.shape[: projection.ndim - 2]
    if leading != projection.shape[:-2]:
        raise ValueError(
            f"vectors must have the leading axes {tuple(projection.shape[:-2])} of the "
            f"projection, got shape {tuple(vectors.shape)}"
        )


def _rank_one(P: Array, g: Array, alpha: float, xp: Namespace) -> Array:
    k = gain(P, g)
    scale = alpha + xp.sum(g * k, axis=-1)
    check_finite("g^T P g", scale, xp)
    lost = xp.any(scale <= 0)
    if not is_traced(lost) and bool(lost):
        raise ValueError(
            f"damping + g^T P g must be > 0 in {P.dtype}, got {float(xp.min(scale))}: "
            f"damping = {alpha} is too small for the dtype, or the projection is not "
            "positive definite any more; start anew in float64"
        )
    return P - (k[..., :, None] * k[..., None, :]) / scale[..., None, None]


def _block(P: Array, V: Array, alpha: float, xp: Namespace) -> Array:
    K = V @ P
    inner = symmetrized(V @ K.mT) + alpha * identity(V.shape[-2], P, xp)
    check_finite("V P V^T", inner, xp)
    try:
        inverse = spd_inverse(inner, xp)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            f"damping I + V P V^T is not positive definite in {P.dtype}: damping = "
            f"{alpha} is too small for these vectors; raise it"
        ) from error
    return P - symmetrized(K.mT @ inverse @ K)
