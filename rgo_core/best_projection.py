"""Problem (9): which projection of trace n makes the old losses grow least.

Its objective ``sigma_max(P H)``, by which Theorem 2 bounds forgetting, and what solves
it.
"""

import numpy as np

from rgo_core._checks import (
    check_features,
    check_finite,
    check_floating,
    check_square,
    check_symmetric,
)
from rgo_core._matrices import symmetrized, widened
from rgo_core._namespace import resolve
from rgo_core._spd import spd_inverse
from rgo_core._typing import Array, Namespace
from rgo_core.projection import normalize


def projected_curvature(
    projection: Array, hessian: Array, *, xp: Namespace | None = None
) -> Array:
    """Return ``sigma_max(P H)``, the objective of problem (9).

    The largest eigenvalue of ``P H``, which is that of ``P^1/2 H P^1/2``: the largest
    curvature that a projected step meets. P H is not symmetric, and its largest
    singular value is no less; Theorem 2 holds with this one, which is the sharper.

    Parameters
    ----------
    projection : array (..., n, n)
        Symmetric positive semi-definite.
    hessian : array (..., n, n)
        Symmetric positive semi-definite: of the old losses, or of the new one to know
        which learning rates are stable, ``eta sigma_max(P H_k) < 2``.
    xp : namespace, optional
        The array namespace; that of the arrays where None.

    Returns
    -------
    array (...)
        In float32 at the least.

    Raises
    ------
    TypeError
        If an array is not real floating-point.
    ValueError
        If the last two axes of an array differ, or those of the two arrays.

    Notes
    -----
    Two symmetric eigendecompositions, some ``10 n^3`` multiplications.

    References
    ----------
    Liu and Liu (2022), Theorem 2 and problem (9).

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> P, H = np.diag([1.0, 4.0]), np.diag([3.0, 2.0])
    >>> float(rgo_core.projected_curvature(P, H))
    8.0
    """
    xp = resolve(xp, projection, hessian)
    check_floating("projection", projection, xp)
    check_floating("hessian", hessian, xp)
    check_square("projection", projection)
    check_square("hessian", hessian)
    check_features("hessian", hessian, -1, projection.shape[-1])
    projection, hessian = widened(projection, xp), widened(hessian, xp)
    values, vectors = xp.linalg.eigh(projection)
    # Rounding leaves a zero eigenvalue on either side of zero.
    values = xp.where(values > 0, values, xp.zeros_like(values))
    root = vectors * xp.sqrt(values)[..., None, :]  # P = root root^T
    met = symmetrized(root.mT @ hessian @ root)
    return xp.linalg.eigvalsh(met)[..., -1]


def optimal_projection(hessian: Array, *, xp: Namespace | None = None) -> Array:
    """Return the solution of problem (9): ``P = n / trace(H^-1) * H^-1``.

    Of all symmetric positive semi-definite P of trace n the one with the least
    ``sigma_max(P H)``, and the only one: ``n / trace(H^-1)``. The projection that
    `consolidate` returns is that of ``H + alpha I``.

    Parameters
    ----------
    hessian : array (..., n, n)
        Symmetric positive definite.
    xp : namespace, optional
        The array namespace; that of the array where None.

    Returns
    -------
    array (..., n, n)
        Bitwise symmetric. In float32 at the least.

    Raises
    ------
    TypeError
        If `hessian` is not real floating-point.
    ValueError
        If its last two axes differ, or it is not finite, symmetric or positive
        definite.

    Notes
    -----
    One Cholesky inverse, about ``n^3`` multiplications. Under JAX's tracing what is
    not positive definite returns NaN.

    References
    ----------
    Liu and Liu (2022), equation 10.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> rgo_core.optimal_projection(np.diag([1.0, 3.0]))
    array([[1.5, 0. ],
           [0. , 0.5]])
    """
    xp = resolve(xp, hessian)
    check_floating("hessian", hessian, xp)
    check_square("hessian", hessian)
    check_finite("hessian", hessian, xp)
    hessian = widened(hessian, xp)  # no library has factors in half precision
    check_symmetric("hessian", hessian, xp)
    try:
        return normalize(spd_inverse(hessian, xp), xp=xp)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            "hessian must be positive definite, for a direction without curvature has "
            "no optimal projection; add damping times the identity"
        ) from error
