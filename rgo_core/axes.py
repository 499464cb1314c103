"""Which axes of a parameter are inputs, which outputs, and which groups.

Linear layers, convolutions, attention and embeddings differ for the mathematics in this
only: how the entries of a parameter are seen as rows of n inputs, one row an output.
"""

import math
from typing import NamedTuple

from rgo_core._namespace import resolve
from rgo_core._typing import Array, Namespace


class Axes(NamedTuple):
    """The axes of one parameter, counted from 0, in the order in which they are seen.

    Every axis is an input, an output or a group. Outputs share one projection of their
    n inputs, a group has one of its own, and where there are no outputs the entries
    are one vector, as those of a bias are.

    Examples
    --------
    A linear layer's weight (m, n), a bias, a normalisation's scale, an embedding (V,
    D), and the weight (m, c / 2, h, w) of a convolution of two groups:

    >>> from rgo_core import Axes
    >>> linear, bias = Axes(outputs=(0,), inputs=(1,)), Axes(inputs=(0,))
    >>> scale = Axes(inputs=(0,), diagonal=True)
    >>> embedding = Axes(inputs=(0,), outputs=(1,), diagonal=True)
    >>> grouped = Axes(
    ...     groups=(0,), outputs=(1,), inputs=(2, 3, 4), shape=(2, 8, 3, 5, 5)
    ... )
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...] = ()
    groups: tuple[int, ...] = ()
    # Whether only the diagonal of the second moment is kept: inputs that never meet,
    # as the rows of an embedding, or parameters that act entry by entry.
    diagonal: bool = False
    # How the parameter is viewed before its axes are counted; as it is where None.
    shape: tuple[int, ...] | None = None


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
    viewed = _viewed(shape, axes)
    order = _order(axes)
    seen = xp.reshape(array, (*before, *viewed)) if viewed != shape else array
    if order != tuple(range(len(viewed))):
        moved = (*range(leading), *(leading + axis for axis in order))
        seen = xp.permute_dims(seen, moved)
    lengths = (*group_shape(shape, axes), _product(viewed, axes.outputs))
    return xp.reshape(seen, (*before, *lengths, features(shape, axes)))


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
    viewed = _viewed(shape, axes)
    lengths = (
        *group_shape(shape, axes),
        _product(viewed, axes.outputs),
        features(shape, axes),
    )
    leading = rows.ndim - len(lengths)
    if leading < 0 or tuple(rows.shape[leading:]) != lengths:
        raise ValueError(
            f"rows of an array of shape {shape} must have shape (..., "
            f"{', '.join(map(str, lengths))}), got {tuple(rows.shape)}"
        )
    before, order = tuple(rows.shape[:leading]), _order(axes)
    seen = xp.reshape(rows, (*before, *(viewed[axis] for axis in order)))
    if order != tuple(range(len(viewed))):
        back = (order.index(axis) for axis in range(len(viewed)))
        seen = xp.permute_dims(seen, (*range(leading), *(leading + a for a in back)))
    return xp.reshape(seen, (*before, *shape))


def features(shape: tuple[int, ...], axes: Axes) -> int:
    """Return n, the number of inputs that share a projection.

    Parameters
    ----------
    shape : tuple of int
        Of the parameter.
    axes : Axes

    Returns
    -------
    int
        The product of the input axes; 1 where there are none, as for a scalar.

    Examples
    --------
    >>> import rgo_core
    >>> rgo_core.features((16, 3, 5, 5), rgo_core.Axes((1, 2, 3), outputs=(0,)))
    75
    """
    return _product(_viewed(shape, axes), axes.inputs)


def group_shape(shape: tuple[int, ...], axes: Axes) -> tuple[int, ...]:
    """Return the lengths of the group axes: the leading axes of second moments.

    Parameters
    ----------
    shape : tuple of int
        Of the parameter.
    axes : Axes

    Returns
    -------
    tuple of int
        Empty where all outputs see the same inputs.

    Examples
    --------
    >>> import rgo_core
    >>> packed = rgo_core.Axes((2,), outputs=(1,), groups=(0,), shape=(3, 8, 8))
    >>> rgo_core.group_shape((24, 8), packed)
    (3,)
    """
    viewed = _viewed(shape, axes)
    return tuple(viewed[axis] for axis in axes.groups)


def check_axes_fit(name: str, axes: Axes, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless the axes are all axes of the parameter, each once.

    Parameters
    ----------
    name : str
        The parameter's, for the message.
    axes : Axes
    shape : tuple of int
        Of the parameter.

    Raises
    ------
    ValueError
        If `axes` has a shape of another number of entries, or its inputs, outputs and
        groups are not all axes, each exactly once and counted from 0.

    Examples
    --------
    >>> import rgo_core
    >>> rgo_core.check_axes_fit("mix", rgo_core.Axes((1,), outputs=(0,)), (3, 4))
    """
    shape = tuple(shape)
    viewed = _viewed(shape, axes)
    if math.prod(viewed) != math.prod(shape):
        raise ValueError(
            f"{name}: expected axes with a shape of {math.prod(shape)} entries, as the "
            f"parameter's {shape} has, got {viewed}"
        )
    if sorted(_order(axes)) != list(range(len(viewed))):
        raise ValueError(
            f"{name}: inputs, outputs and groups must be all axes of shape {viewed}, "
            f"each once and counted from 0, got {axes}"
        )


def _order(axes: Axes) -> tuple[int, ...]:
    return (*axes.groups, *axes.outputs, *axes.inputs)


def _viewed(shape: tuple[int, ...], axes: Axes) -> tuple[int, ...]:
    return tuple(shape) if axes.shape is None else tuple(axes.shape)


def _product(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    return math.prod(shape[axis] for axis in axes)


def _count_leading(shape: tuple[int, ...], axes: Axes) -> int:
    """Return how many axes stand before those of the parameter."""
    if axes.shape is None:
        count = len(shape) - len(_order(axes))
        if count < 0:
            raise ValueError(
                f"an array must have the {len(_order(axes))} axes of {axes}, got shape "
                f"{tuple(shape)}"
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
