"""The projection P: from a second moment, and onto a gradient.

P is called a projection as in the paper. It is symmetric positive definite and *not*
idempotent: projecting twice is not projecting once.
"""

import numpy as np

from rgo_core._checks import (
    check_axes,
    check_features,
    check_finite,
    check_floating,
    check_positive,
    check_square,
)
from rgo_core._namespace import device_of, resolve
from rgo_core._spd import spd_inverse
from rgo_core._typing import Array, DType, Namespace
from rgo_core.second_moment import SecondMoment


def consolidate(
    moment: SecondMoment,
    damping: float,
    *,
    relative: bool = False,
    normalized: bool = True,
    dtype: DType = None,
    xp: Namespace | None = None,
) -> Array:
    """Return the projection of a second moment.

    ``P = n / trace(Q) * Q`` with ``Q = (I + H / damping)^-1``, or Q itself.

    Parameters
    ----------
    moment : SecondMoment
        With a matrix H of shape (..., n, n).
    damping : float
        alpha > 0, in the unit of a squared curvature vector: directions whose ``g^T H
        g`` is far above it are closed, those far below stay free.
    relative : bool
        Whether `damping` counts in units of the mean of H's diagonal, ``trace(H) / n``:
        the scale of the vectors, which differs between layers by orders of magnitude
        and fades as samples are fitted, does not matter then.
    normalized : bool
        Whether the trace is scaled to n, as the paper does. Q itself, of eigenvalues up
        to 1, lengthens no step: of use where H fills all directions, and scaling would
        open them again.
    dtype : optional
        The dtype of the result; that of H, float64, where None.
    xp : namespace, optional
        The array namespace; that of the arrays where None.

    Returns
    -------
    array (..., n, n)
        Bitwise symmetric, positive definite, of trace n where normalized. Exactly the
        identity where nothing was observed.

    Raises
    ------
    TypeError
        If H is not real floating-point.
    ValueError
        If `damping` is not a finite number > 0, H is not square or not finite, or
        ``I + H / damping`` is not positive definite in float64.

    Notes
    -----
    One Cholesky inverse, about ``n^3`` multiplications, once a task. Under JAX's
    tracing values cannot be checked, and what would raise returns NaN.

    The relative error of P is about ``eps kappa``, with float64's eps = 2e-16 and kappa
    the condition number of ``I + H / damping``: up to some 1e-3 at 1e13 and a tenth at
    1e15, without a word; only what Cholesky's factors do not exist for is refused.

    References
    ----------
    Liu and Liu, "Continual Learning with Recursive Gradient Optimization", ICLR 2022:
    Algorithm 1, in the information form of recursive least squares.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> moment = rgo_core.observe(rgo_core.empty_moment(2), np.asarray([[3.0, 0.0]]))
    >>> rgo_core.consolidate(moment, damping=1.0)
    array([[0.18181818, 0.        ],
           [0.        , 1.81818182]])
    """
    xp = resolve(xp, moment.matrix)
    check_positive("damping", damping)
    check_floating("moment.matrix", moment.matrix, xp)
    check_square("moment.matrix", moment.matrix)
    check_finite("moment.matrix", moment.matrix, xp)
    damping = float(damping)  # a NumPy scalar would bring its dtype
    n = moment.matrix.shape[-1]
    identity = xp.eye(n, dtype=moment.matrix.dtype, device=device_of(moment.matrix))
    if relative:
        mean = xp.linalg.trace(moment.matrix)[..., None, None] / n
        # Of nothing observed there is no scale.
        scaled = moment.matrix / (damping * xp.where(mean > 0, mean, 1.0))
    else:
        scaled = moment.matrix / damping
    information = identity + scaled
    try:
        inverse = spd_inverse(information, xp)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            f"I + H / damping is not positive definite in float64: damping = {damping} "
            f"is too small for a second moment whose largest entry is "
            f"{float(xp.max(xp.abs(moment.matrix))):.3g}; raise it"
        ) from error
    projection = normalize(inverse, xp=xp) if normalized else inverse
    return projection if dtype is None else xp.astype(projection, dtype)


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


def project(projection: Array, gradient: Array, *, axis: int = -2) -> Array:
    """Apply a projection to a gradient: ``P G``.

    Parameters
    ----------
    projection : array (..., n, n)
        Symmetric, already normalised (see `normalize`).
    gradient : array (..., n, m), (..., m, n) or (n,)
        Its n features lie along `axis`. It has the leading axes of `projection`: a P
        without any serves every group.
    axis : {-2, -1}
        -2 for the paper's n x m matrices; -1 for vectors and for matrices stored with
        one output a row, as PyTorch stores them: by the symmetry of P that is ``G P``.

    Returns
    -------
    array
        Of the shape of `gradient`.

    Raises
    ------
    ValueError
        If the shapes do not fit, or `axis` is neither -2 nor -1.

    Notes
    -----
    Costs ``n^2 m``. When the gradient's factors are at hand, `project_factors` can be
    cheaper.

    References
    ----------
    Liu and Liu (2022), equation 9.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> rgo_core.project(np.diag([0.5, 1.5]), np.ones((2, 1)))
    array([[0.5],
           [1.5]])
    """
    check_square("projection", projection)
    _check_axis(axis)
    check_features("gradient", gradient, axis, projection.shape[-1])
    _check_leading(projection, gradient=gradient)
    return projection @ gradient if axis == -2 else gradient @ projection


def project_factors(
    projection: Array, inputs: Array, output_gradients: Array, *, axis: int = -2
) -> Array:
    """Apply a projection to a gradient given as ``X^T D``, the cheaper way round.

    ``(X P)^T D`` where there are fewer rows than outputs, else ``P (X^T D)``.

    Parameters
    ----------
    projection : array (..., n, n)
        Symmetric, already normalised.
    inputs : array (..., r, n)
        X: the inputs of a linear layer or the patches of a convolution, one a row.
    output_gradients : array (..., r, m)
        D: the gradient of the loss in the layer's outputs, row by row.
    axis : {-2, -1}
        Where the result has its features: (..., n, m) for -2, (..., m, n) for -1.

    Returns
    -------
    array (..., n, m) or (..., m, n)

    Raises
    ------
    ValueError
        If the shapes do not fit, or `axis` is neither -2 nor -1.

    Notes
    -----
    Costs ``n^2 r + n r m`` in factors, ``n r m + n^2 m`` the other way.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> inputs, gradients = np.ones((1, 2)), np.ones((1, 3))
    >>> rgo_core.project_factors(np.diag([0.5, 1.5]), inputs, gradients)
    array([[0.5, 0.5, 0.5],
           [1.5, 1.5, 1.5]])
    """
    check_square("projection", projection)
    _check_axis(axis)
    check_features("inputs", inputs, -1, projection.shape[-1])
    check_axes("inputs", inputs, 2, "(..., r, n)")
    rows = inputs.shape[-2]
    if output_gradients.ndim < 2 or output_gradients.shape[-2] != rows:
        raise ValueError(
            f"output_gradients must have the {rows} rows of inputs, "
            f"got shape {tuple(output_gradients.shape)}"
        )
    _check_leading(projection, inputs=inputs, output_gradients=output_gradients)
    factored = rows < output_gradients.shape[-1]
    left = inputs @ projection if factored else inputs
    if axis == -1:
        gradient = output_gradients.mT @ left
        return gradient if factored else gradient @ projection
    gradient = left.mT @ output_gradients
    return gradient if factored else projection @ gradient


def _check_axis(axis: int) -> None:
    if axis not in (-2, -1):
        raise ValueError(f"axis must be -2 (n x m) or -1 (m x n, vectors), got {axis}")


def _check_leading(projection: Array, **arrays: Array) -> None:
    """Raise ValueError where broadcasting to P would give the gradient more axes."""
    for axis in range(-3, -projection.ndim - 1, -1):
        lengths = [x.shape[axis] for x in arrays.values() if x.ndim >= -axis]
        if not lengths or projection.shape[axis] not in (1, *lengths):
            shapes = " and ".join(f"{tuple(x.shape)}" for x in arrays.values())
            raise ValueError(
                f"{' and '.join(arrays)} must have the leading axes "
                f"{tuple(projection.shape[:-2])} of the projection, got {shapes}"
            )
