"""Which axes of a parameter are inputs, which outputs, and which groups.

Linear layers, convolutions, attention and embeddings differ for the mathematics in this
only: how the entries of a parameter are seen as rows of n inputs, one row an output.
"""

import math
from typing import NamedTuple


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
    return product(viewed_shape(shape, axes), axes.inputs)


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
    viewed = viewed_shape(shape, axes)
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
    viewed = viewed_shape(shape, axes)
    if math.prod(viewed) != math.prod(shape):
        raise ValueError(
            f"{name}: expected axes with a shape of {math.prod(shape)} entries, as the "
            f"parameter's {shape} has, got {viewed}"
        )
    if sorted(axis_order(axes)) != list(range(len(viewed))):
        raise ValueError(
            f"{name}: inputs, outputs and groups must be all axes of shape {viewed}, "
            f"each once and counted from 0, got {axes}"
        )


def axis_order(axes: Axes) -> tuple[int, ...]:
    """Return the axes as rows have them: groups, outputs, inputs."""
    return (*axes.groups, *axes.outputs, *axes.inputs)


def viewed_shape(shape: tuple[int, ...], axes: Axes) -> tuple[int, ...]:
    """Return the shape whose axes are counted: the parameter's, or a given one."""
    return tuple(shape) if axes.shape is None else tuple(axes.shape)


def product(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    """Return how many entries a shape has along some of its axes."""
    return math.prod(shape[axis] for axis in axes)
