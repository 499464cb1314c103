"""A parameter seen as rows of n inputs, one row an output, and back."""

import math

from rgo_core._namespace import resolve
from rgo_core._typing import Array, Namespace
from rgo_core.axes import (
    Axes,
    axis_order,
    check_axes_fit,
    features,
    group_shape,
    product,
    viewed_shape,
)


def to_rows(
    array: Array,
    axes: Axes,
    *,
    leading: int | None = None,
    xp: Namespace | None = None,
) -> Array:
    """See an array of a parameter's shape as rows of n inputs, one row an output.

    Parameters
    ----------
    array : array (..., shape...)
        The parameter, its gradient, or a stack of gradients.
    axes : Axes
    leading : int, optional
        How many axes stand before the parameter's. Where None: all but those that
        `axes` names; or, where `axes` has a shape, those that its number of entries
        leaves.
    xp : namespace, optional
        The array namespace; that of the array where None.

    Returns
    -------
    array (..., groups..., m, n)
        A view, where the order of the axes is right and the namespace has views. m is
        1 where there are no outputs.

    Raises
    ------
    ValueError
        If the array does not have the axes, or an axis of length 1 may or may not be
        one of the parameter's.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> kernel = np.asarray([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> rgo_core.to_rows(kernel, rgo_core.Axes(inputs=(0,), outputs=(1,)))
    array([[1., 3., 5.],
           [2., 4., 6.]])
    """
    xp = resolve(xp, array)
    leading = _count_leading(array.shape, axes) if leading is None else leading
    before, shape = tuple(array.shape[:leading]), tuple(array.shape[leading:])
    check_axes_fit("array", axes, shape)
    viewed = viewed_shape(shape, axes)
    order = axis_order(axes)
    seen = xp.reshape(array, (*before, *viewed)) if viewed != shape else array
    if order != tuple(range(len(viewed))):
        moved = (*range(leading), *(leading + axis for axis in order))
        seen = xp.permute_dims(seen, moved)
    return xp.reshape(seen, (*before, *_row_lengths(shape, axes)))


def from_rows(
    rows: Array, axes: Axes, shape: tuple[int, ...], *, xp: Namespace | None = None
) -> Array:
    """See rows as the array that `to_rows` saw.

    Parameters
    ----------
    rows : array (..., groups..., m, n)
    axes : Axes
    shape : tuple of int
        Of the parameter.
    xp : namespace, optional
        The array namespace; that of the array where None.

    Returns
    -------
    array (..., shape...)

    Raises
    ------
    ValueError
        If the axes do not fit the shape, or the rows are not those of such an array.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> rows, axes = np.ones((2, 3)), rgo_core.Axes(inputs=(0,), outputs=(1,))
    >>> rgo_core.from_rows(rows, axes, (3, 2)).shape
    (3, 2)
    """
    xp = resolve(xp, rows)
    shape = tuple(shape)
    check_axes_fit("rows", axes, shape)
    viewed = viewed_shape(shape, axes)
    lengths = _row_lengths(shape, axes)
    leading = rows.ndim - len(lengths)
    if leading < 0 or tuple(rows.shape[leading:]) != lengths:
        raise ValueError(
            f"rows of an array of shape {shape} must have shape (..., "
            f"{', '.join(map(str, lengths))}), got {tuple(rows.shape)}"
        )
    before, order = tuple(rows.shape[:leading]), axis_order(axes)
    seen = xp.reshape(rows, (*before, *(viewed[axis] for axis in order)))
    if order != tuple(range(len(viewed))):
        back = (order.index(axis) for axis in range(len(viewed)))
        seen = xp.permute_dims(seen, (*range(leading), *(leading + a for a in back)))
    return xp.reshape(seen, (*before, *shape))


def _row_lengths(shape: tuple[int, ...], axes: Axes) -> tuple[int, ...]:
    """Return (groups..., m, n) of a parameter of that shape."""
    m = product(viewed_shape(shape, axes), axes.outputs)
    return *group_shape(shape, axes), m, features(shape, axes)


def _count_leading(shape: tuple[int, ...], axes: Axes) -> int:
    """Return how many axes stand before those of the parameter."""
    if axes.shape is None:
        count = len(shape) - len(axis_order(axes))
        if count < 0:
            raise ValueError(
                f"an array must have the {len(axis_order(axes))} axes of {axes}, got "
                f"shape {tuple(shape)}"
            )
        return count
    entries = math.prod(axes.shape)
    fitting = [k for k in range(len(shape) + 1) if math.prod(shape[k:]) == entries]
    if len(fitting) != 1:
        raise ValueError(
            f"an array must have {entries} entries in its last axes, for {axes}, and "
            "where one of them may have length 1 `leading` must say how many stand "
            f"before, got shape {tuple(shape)}"
        )
    return fitting[0]
