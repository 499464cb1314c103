"""Forgetting as the theorems speak of it, the recursive least loss, and its bound.

The recursive least loss is the second-order growth of the old losses, and Theorem 2
bounds it by ``sigma_max(P H)``. What is true of them and what is not is in the
documentation, under *The theorems, verified*.
"""

from rgo_core._checks import (
    check_features,
    check_floating,
    check_integer,
    check_positive,
    check_square,
)
from rgo_core._namespace import resolve
from rgo_core._typing import Array, Namespace


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
    check_integer("steps", steps, 1)
    learning_rate = float(learning_rate)  # a NumPy scalar would bring its dtype
    printed = curvature * loss * (int(steps) * learning_rate / 2)
    if smoothness is None:
        return printed
    kept = 1 - smoothness * (learning_rate / 2)
    stable = kept > 0
    divisor = xp.where(stable, kept, xp.ones_like(kept))
    return xp.where(stable, printed / divisor, xp.full_like(kept, float("inf")))
