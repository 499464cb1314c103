"""From a second moment to its projection: ``P = n / trace(Q) Q``, Q = (I + H / a)^-1.

Once a task, and in float64.
"""

from typing import overload

import numpy as np

from rgo_core._checks import (
    check_choice,
    check_double,
    check_finite,
    check_floating,
    check_positive,
    check_square,
    check_symmetric,
)
from rgo_core._matrices import plus_identity
from rgo_core._namespace import is_traced, resolve
from rgo_core._spd import spd_inverse
from rgo_core._typing import Array, DType, Namespace
from rgo_core.damping import Damping, Relative, alpha_of, split_damping, with_flag
from rgo_core.diagonal import (
    DiagonalMoment,
    DiagonalProjection,
    consolidate_diagonal,
)
from rgo_core.projection import Projection, normalize
from rgo_core.second_moment import SecondMoment, check_moment
from rgo_core.sketch import LowRankProjection, SketchedMoment, consolidate_sketch


@overload
def consolidate(
    moment: SecondMoment,
    damping: Damping,
    *,
    relative: bool | None = ...,
    looked_up: bool = ...,
    normalized: bool = ...,
    dtype: DType = ...,
    xp: Namespace | None = ...,
) -> Array: ...


@overload
def consolidate(
    moment: DiagonalMoment,
    damping: Damping,
    *,
    relative: bool | None = ...,
    looked_up: bool = ...,
    normalized: bool = ...,
    dtype: DType = ...,
    xp: Namespace | None = ...,
) -> DiagonalProjection: ...


@overload
def consolidate(
    moment: SketchedMoment,
    damping: Damping,
    *,
    relative: bool | None = ...,
    looked_up: bool = ...,
    normalized: bool = ...,
    dtype: DType = ...,
    xp: Namespace | None = ...,
) -> LowRankProjection: ...


def consolidate(
    moment: SecondMoment | DiagonalMoment | SketchedMoment,
    damping: Damping,
    *,
    relative: bool | None = None,
    looked_up: bool = False,
    normalized: bool = True,
    dtype: DType = None,
    xp: Namespace | None = None,
) -> Projection:
    """Return the projection of a second moment, in its form.

    ``P = n / trace(Q) * Q`` with ``Q = (I + H / damping)^-1``, or Q itself.

    Parameters
    ----------
    moment : SecondMoment, DiagonalMoment or SketchedMoment
        Of H, of n features; its leading axes (...) are groups.
    damping : float or Relative
        alpha > 0, in the unit of a squared curvature vector: directions whose ``g^T H
        g`` is far above it are closed, those far below stay free. ``Relative(share)``
        counts in units of the mean of H's diagonal, and is at most its `most`.
    relative : bool, optional
        What 0.1.0 had for ``Relative(damping)``, with a warning; gone in the next
        release.
    looked_up : bool
        Whether the features of a DiagonalMoment are rows of a table that are looked up
        one by one, as words are: ``Relative(share)`` counts in units of the mean of h
        weighted by h itself then, ``sum h^2 / sum h``, for most rows are rare.
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
    array (..., n, n), DiagonalProjection or LowRankProjection
        Bitwise symmetric, positive definite to the rounding of its dtype, of trace n
        where normalized. Exactly the identity where nothing was observed.

    Raises
    ------
    TypeError
        If H is not float64, or no second moment.
    ValueError
        If `damping` is not a finite number > 0, an option is no bool, H is not square,
        finite and symmetric, or ``I + H / damping`` is not positive definite in
        float64.

    Notes
    -----
    One Cholesky inverse, about ``n^3`` multiplications, once a task; of a sketch of l
    rows ``2 l^2 n``. On the host NumPy and PyTorch form Q in the memory of the result,
    and need n^2 doubles more where it is scaled. While JAX traces, values cannot be
    checked, and the result is NaN where an error would have been raised.

    A sketch stands for ``H = S^T S + shrunk / 2``: what was cut off acts as additional
    damping, and in the raw Q as a factor ``1 / (1 + shrunk / (2 damping))``.

    The relative error of P is about ``eps kappa``, with float64's eps = 2e-16 and kappa
    the condition number of ``I + H / damping``: up to some 1e-3 at 1e13 and a tenth at
    1e15. That is not warned of; only a matrix without a Cholesky factor is refused.

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
    check_moment("moment", moment)
    xp = resolve(xp, moment[0])
    damping = with_flag(damping, relative, stacklevel=2)
    check_positive("damping", split_damping(damping)[0])
    check_choice("normalized", normalized, (True, False))
    check_choice("looked_up", looked_up, (True, False))
    options = {"normalized": normalized, "xp": xp}
    if isinstance(moment, DiagonalMoment):
        scales = consolidate_diagonal(moment, damping, looked_up=looked_up, **options)
        return DiagonalProjection(_cast(scales.diagonal, dtype, xp))
    if isinstance(moment, SketchedMoment):
        factor, scale = consolidate_sketch(moment, damping, **options)
        return LowRankProjection(_cast(factor, dtype, xp), _cast(scale, dtype, xp))
    return _cast(_consolidate_dense(moment.matrix, damping, **options), dtype, xp)


def _consolidate_dense(
    matrix: Array, damping: Damping, *, normalized: bool, xp: Namespace
) -> Array:
    check_floating("moment.matrix", matrix, xp)
    check_double("moment.matrix", matrix, xp)
    check_square("moment.matrix", matrix)
    check_finite("moment.matrix", matrix, xp)
    check_symmetric("moment.matrix", matrix, xp)
    mean = xp.linalg.trace(matrix)[..., None, None] / matrix.shape[-1]
    if isinstance(damping, Relative):  # alpha would be infinite, and close nothing
        check_finite("trace(H)", mean, xp)
    alpha = alpha_of(damping, mean, xp)
    try:
        Q = spd_inverse(plus_identity(matrix / alpha, xp), xp, donate=True)
        _check_lies_below_identity(Q, xp)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            f"I + H / damping is not positive definite in float64: damping = {damping} "
            f"is too small for a second moment whose largest entry is "
            f"{float(xp.max(xp.abs(matrix))):.3g}; raise it"
        ) from error
    return normalize(Q, xp=xp) if normalized else Q


def _check_lies_below_identity(Q: Array, xp: Namespace) -> None:
    """Raise LinAlgError where rounding or an overflow of H / alpha is left of Q."""
    left = xp.linalg.diagonal(Q)
    is_inverse = xp.all((left > 0) & (left < 1.1))
    if not is_traced(is_inverse) and not bool(is_inverse):
        raise np.linalg.LinAlgError


def _cast(array: Array, dtype: DType, xp: Namespace) -> Array:
    return array if dtype is None else xp.astype(array, dtype)
