"""A projection, applied to a gradient.

The hot path of training: shapes are checked, values never.
"""

from rgo_core._checks import check_axes, check_features, check_square
from rgo_core._typing import Array
from rgo_core.diagonal import DiagonalProjection, project_diagonal
from rgo_core.projection import Projection
from rgo_core.sketch import LowRankProjection, project_low_rank


def project(projection: Projection, gradient: Array, *, axis: int = -2) -> Array:
    """Apply a projection to a gradient: ``P G``.

    Parameters
    ----------
    projection : array (..., n, n), DiagonalProjection or LowRankProjection
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
    Costs ``n^2 m`` for a matrix, ``n m`` for a diagonal, ``2 n l m`` for l directions;
    values are not looked at. When the gradient's factors are at hand,
    `project_factors` can be cheaper.

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
    groups, n = _check_projection(projection)
    _check_axis(axis)
    check_features("gradient", gradient, axis, n)
    _check_leading(groups, gradient=gradient)
    return apply_unchecked(projection, gradient, axis)


def project_factors(
    projection: Projection, inputs: Array, output_gradients: Array, *, axis: int = -2
) -> Array:
    """Apply a projection to a gradient given as ``X^T D``, the cheaper way round.

    ``(X P)^T D`` where there are fewer rows than outputs, else ``P (X^T D)``.

    Parameters
    ----------
    projection : array (..., n, n), DiagonalProjection or LowRankProjection
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
    Costs ``n^2 r + n r m`` in factors, ``n r m + n^2 m`` the other way, for a matrix.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> inputs, gradients = np.ones((1, 2)), np.ones((1, 3))
    >>> rgo_core.project_factors(np.diag([0.5, 1.5]), inputs, gradients)
    array([[0.5, 0.5, 0.5],
           [1.5, 1.5, 1.5]])
    """
    groups, n = _check_projection(projection)
    _check_axis(axis)
    check_features("inputs", inputs, -1, n)
    check_axes("inputs", inputs, 2, "(..., r, n)")
    rows = inputs.shape[-2]
    if output_gradients.ndim < 2 or output_gradients.shape[-2] != rows:
        raise ValueError(
            f"output_gradients must have the {rows} rows of inputs, "
            f"got shape {tuple(output_gradients.shape)}"
        )
    _check_leading(groups, inputs=inputs, output_gradients=output_gradients)
    factored = rows < output_gradients.shape[-1]
    left = apply_unchecked(projection, inputs, -1) if factored else inputs
    right = output_gradients
    gradient = right.mT @ left if axis == -1 else left.mT @ right
    return gradient if factored else apply_unchecked(projection, gradient, axis)


def apply_unchecked(projection: Projection, gradient: Array, axis: int) -> Array:
    """Do as `project`, for one who knows that the shapes fit: at every step."""
    if isinstance(projection, DiagonalProjection):
        return project_diagonal(projection, gradient, axis)
    if isinstance(projection, LowRankProjection):
        return project_low_rank(projection, gradient, axis)
    # A vector from the right, since P is symmetric: the faster way round.
    first = axis == -2 or gradient.ndim == 1
    return projection @ gradient if first else gradient @ projection


def _check_projection(projection: Projection) -> tuple[tuple[int, ...], int]:
    """Return the groups and the features of a projection of any form."""
    if isinstance(projection, DiagonalProjection):
        check_axes("projection.diagonal", projection.diagonal, 1, "(..., n)")
        *groups, n = projection.diagonal.shape
        return tuple(groups), n
    if isinstance(projection, LowRankProjection):
        check_axes("projection.factor", projection.factor, 2, "(..., l, n)")
        *groups, _, n = projection.factor.shape
        if tuple(projection.scale.shape) != tuple(groups):
            raise ValueError(
                f"projection.scale must have shape {tuple(groups)}, "
                f"got {tuple(projection.scale.shape)}"
            )
        return tuple(groups), n
    check_square("projection", projection)
    return tuple(projection.shape[:-2]), projection.shape[-1]


def _check_axis(axis: int) -> None:
    if axis not in (-2, -1):
        raise ValueError(f"axis must be -2 (n x m) or -1 (m x n, vectors), got {axis}")


def _check_leading(groups: tuple[int, ...], **arrays: Array) -> None:
    """Raise ValueError where broadcasting to P would give the gradient more axes."""
    for axis in range(-3, -len(groups) - 3, -1):
        lengths = [x.shape[axis] for x in arrays.values() if x.ndim >= -axis]
        if not lengths or groups[axis + 2] not in (1, *lengths):
            shapes = " and ".join(f"{tuple(x.shape)}" for x in arrays.values())
            raise ValueError(
                f"{' and '.join(arrays)} must have the leading axes "
                f"{groups} of the projection, got {shapes}"
            )
