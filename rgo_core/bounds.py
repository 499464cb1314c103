"""What the theorems speak of: forgetting, its bound, its optimum, what is left free.

The recursive least loss is the second-order growth of the old losses, Theorem 2 bounds
it by ``sigma_max(P H)``, and problem (9) asks for the P that makes this least. What is
true of them and what is not is in the documentation, under *The theorems, verified*.
"""

import numpy as np

from rgo_core._checks import (
    check_features,
    check_finite,
    check_floating,
    check_positive,
    check_square,
)
from rgo_core._namespace import resolve
from rgo_core._spd import spd_inverse
from rgo_core._typing import Array, Namespace
from rgo_core.diagonal import DiagonalProjection
from rgo_core.projection import Projection, normalize
from rgo_core.sketch import LowRankProjection


def recursive_least_loss(
    parameters: Array, optimum: Array, hessian: Array, *, xp: Namespace | None = None
) -> Array:
    """Return ``1/2 (theta - theta*)^T H (theta - theta*)``.

    How far the old losses have grown since their optimum: exactly for quadratic ones
    that are stationary there (Theorem 6), else to second order.

    Parameters
    ----------
    parameters : array (..., n)
        theta.
    optimum : array (..., n)
        theta*, where the old tasks were left.
    hessian : array (..., n, n)
        H, the sum of the old losses' Hessians, symmetric.
    xp : namespace, optional
        The array namespace; that of the arrays where None.

    Returns
    -------
    array (...)

    Raises
    ------
    TypeError
        If `parameters` or `hessian` are not real floating-point.
    ValueError
        If the shapes do not fit.

    Notes
    -----
    Costs ``n^2`` multiplications.

    References
    ----------
    Liu and Liu, "Continual Learning with Recursive Gradient Optimization", ICLR 2022:
    the recursive least loss, and Theorem 6.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> theta, optimum = np.asarray([1.0, 1.0]), np.zeros(2)
    >>> float(rgo_core.recursive_least_loss(theta, optimum, np.diag([4.0, 0.0])))
    2.0
    """
    xp = resolve(xp, parameters, optimum, hessian)
    check_floating("parameters", parameters, xp)
    check_floating("hessian", hessian, xp)
    check_square("hessian", hessian)
    check_features("parameters", parameters, -1, hessian.shape[-1])
    check_features("optimum", optimum, -1, hessian.shape[-1])
    moved = parameters - optimum
    return xp.sum(moved * (hessian @ moved[..., None])[..., 0], axis=-1) / 2


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
    values, vectors = xp.linalg.eigh(projection)
    # Rounding leaves a zero eigenvalue on either side of zero.
    values = xp.where(values > 0, values, xp.zeros_like(values))
    root = vectors * xp.sqrt(values)[..., None, :]  # P = root root^T
    met = xp.matrix_transpose(root) @ hessian @ root
    return xp.linalg.eigvalsh((met + xp.matrix_transpose(met)) / 2)[..., -1]


def forgetting_bound(
    curvature: Array,
    loss: Array,
    *,
    steps: int,
    learning_rate: float,
    smoothness: Array | None = None,
    xp: Namespace | None = None,
) -> Array:
    """Bound the recursive least loss after a task of projected gradient descent.

    ``1/2 n_k eta sigma_max(P H) L_k(theta_{k-1})`` as Theorem 2 prints it, which holds
    to first order in eta; divided by ``1 - eta sigma_max(P H_k) / 2``, which holds for
    every stable learning rate, where the `smoothness` of the new loss is given.

    Parameters
    ----------
    curvature : array (...)
        ``sigma_max(P H)`` of the old losses: see `projected_curvature`.
    loss : array (...)
        ``L_k(theta_{k-1})``, the new task's loss before its first step, above its least
        value or above zero.
    steps : int
        n_k, the steps of the task.
    learning_rate : float
        eta.
    smoothness : array (...), optional
        ``sigma_max(P H_k)`` of the new loss, at most.
    xp : namespace, optional
        The array namespace; that of the arrays where None.

    Returns
    -------
    array (...)
        Infinite where ``eta sigma_max(P H_k) >= 2``: descent may diverge there.

    Raises
    ------
    TypeError
        If `curvature` or `loss` are not real floating-point.
    ValueError
        If `steps` is not a positive integer, or `learning_rate` not a finite number
        > 0.

    Notes
    -----
    Full-batch descent. With ``eta sigma_max(P H_k) <= 1`` the divisor is at least 1/2.

    References
    ----------
    Liu and Liu (2022), Theorem 2; without the second-order term that inequality 22
    drops.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> one = np.asarray(1.0)
    >>> float(rgo_core.forgetting_bound(one, one / 2, steps=1, learning_rate=1.0))
    0.25
    >>> float(
    ...     rgo_core.forgetting_bound(
    ...         one, one / 2, steps=1, learning_rate=1.0, smoothness=one
    ...     )
    ... )
    0.5
    """
    xp = resolve(xp, curvature, loss, smoothness)
    check_floating("curvature", curvature, xp)
    check_floating("loss", loss, xp)
    check_positive("learning_rate", learning_rate)
    if not isinstance(steps, int | np.integer) or steps < 1:
        raise ValueError(f"steps must be an integer >= 1, got {steps!r}")
    learning_rate = float(learning_rate)  # a NumPy scalar would bring its dtype
    printed = curvature * loss * (int(steps) * learning_rate / 2)
    if smoothness is None:
        return printed
    kept = 1 - smoothness * (learning_rate / 2)
    stable = kept > 0
    divisor = xp.where(stable, kept, xp.ones_like(kept))
    return xp.where(stable, printed / divisor, xp.full_like(kept, float("inf")))


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
        Bitwise symmetric.

    Raises
    ------
    TypeError
        If `hessian` is not real floating-point.
    ValueError
        If its last two axes differ, or it is not finite or not positive definite.

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
    try:
        return normalize(spd_inverse(hessian, xp), xp=xp)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            "hessian must be positive definite, for a direction without curvature has "
            "no optimal projection; add damping times the identity"
        ) from error


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

    Raises
    ------
    TypeError
        If the array is not real floating-point.
    ValueError
        If its last two axes differ.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> float(rgo_core.plasticity(np.diag([1.0, 0.0, 0.0, 0.0])))
    0.25
    """
    trace, _, n = _traces(projection, xp)
    return trace / n


def free_directions(projection: Projection, *, xp: Namespace | None = None) -> Array:
    """Return the effective number of free directions: ``trace(P)^2 / trace(P^2)``.

    n for the identity, k for the orthogonal projection onto k directions, and whatever
    the scale: as good for a normalised P as for a raw one. Where all directions are
    closed alike it is n again, since normalisation opens them all again.

    Parameters
    ----------
    projection : array (..., n, n), DiagonalProjection or LowRankProjection
        Symmetric positive semi-definite, not zero.
    xp : namespace, optional
        The array namespace; that of the array where None.

    Returns
    -------
    array (...)
        From 1 to n.

    Raises
    ------
    TypeError
        If the array is not real floating-point.
    ValueError
        If its last two axes differ.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> float(rgo_core.free_directions(np.diag([2.0, 2.0, 0.0])))
    2.0
    """
    trace, square, _ = _traces(projection, xp)
    return trace * trace / square


def _traces(projection: Projection, xp: Namespace | None) -> tuple[Array, Array, int]:
    """Return trace(P), trace(P^2) and n of a projection of any form."""
    if isinstance(projection, DiagonalProjection):
        scales = projection.diagonal
        xp = resolve(xp, scales)
        check_floating("projection.diagonal", scales, xp)
        squares = xp.sum(scales * scales, axis=-1)
        return xp.sum(scales, axis=-1), squares, scales.shape[-1]
    if isinstance(projection, LowRankProjection):
        factor, scale = projection
        xp = resolve(xp, factor)
        check_floating("projection.factor", factor, xp)
        n, gram = factor.shape[-1], factor @ factor.mT
        once = xp.linalg.trace(gram)
        twice = xp.sum(gram * gram, axis=(-2, -1))
        return scale * (n - once), scale * scale * (n - 2 * once + twice), n
    xp = resolve(xp, projection)
    check_floating("projection", projection, xp)
    check_square("projection", projection)
    squares = xp.sum(projection * projection, axis=(-2, -1))
    return xp.linalg.trace(projection), squares, projection.shape[-1]
