"""The permutations behind the feature encoding layer.

A permutation is a pure function of (seed, task, name, width), drawn on the host, so
that it is the same on every backend, machine and number of workers.
"""

import numpy as np
from numpy.typing import NDArray

from rgo_core._checks import check_integer
from rgo_core._draws import host_generator
from rgo_core._namespace import resolve
from rgo_core._typing import Array, Namespace


def task_permutation(
    width: int, *, task: int, name: str, seed: int = 0
) -> NDArray[np.int64]:
    """Draw the permutation of a layer's channels that belongs to a task.

    Parameters
    ----------
    width : int
        How many channels the layer has.
    task : int
        Counted from 0. The first task keeps the identity.
    name : str
        The layer's name: two layers of one width get different permutations.
    seed : int
        At least 0.

    Returns
    -------
    numpy array (width,) of int64
        ``out[j] = in[permutation[j]]`` (see `permute`).

    Raises
    ------
    ValueError
        If `width` is below 1, or `task` or `seed` below 0.

    Notes
    -----
    NumPy's PCG64, seeded by a `SeedSequence` of the seed, the task, the width and the
    SHA-256 digest of the name.

    References
    ----------
    Liu and Liu (2022), section 4, the feature encoding layer.

    Examples
    --------
    >>> import rgo_core
    >>> rgo_core.task_permutation(4, task=0, name="hidden")
    array([0, 1, 2, 3])
    >>> rgo_core.task_permutation(4, task=1, name="hidden")
    array([0, 1, 3, 2])
    """
    for label, value, least in (
        ("width", width, 1),
        ("task", task, 0),
        ("seed", seed, 0),
    ):
        check_integer(label, value, least)
    if task == 0:
        return np.arange(width, dtype=np.int64)
    generator = host_generator(seed, task, width, name=name)
    return generator.permutation(width).astype(np.int64)


def inverse_permutation(permutation: Array, *, xp: Namespace | None = None) -> Array:
    """Return the permutation that undoes `permutation`.

    Parameters
    ----------
    permutation : array (width,) of integers
    xp : namespace, optional
        The array namespace; that of the array where None.

    Returns
    -------
    array (width,)

    Raises
    ------
    TypeError
        If `permutation` is not an array of integers.
    ValueError
        If it has more than one axis.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> rgo_core.inverse_permutation(np.asarray([2, 0, 1]))
    array([1, 2, 0])
    """
    xp = resolve(xp, permutation)
    _check_permutation(permutation, xp)
    return xp.astype(xp.argsort(permutation), permutation.dtype, copy=False)


def permute(
    array: Array, permutation: Array, *, axis: int = -1, xp: Namespace | None = None
) -> Array:
    """Reorder the channels of an array: ``out[j] = array[permutation[j]]``.

    Parameters
    ----------
    array : array
        With the channels along `axis`.
    permutation : array (width,) of integers
    axis : int
        The channels' axis.
    xp : namespace, optional
        The array namespace; that of the arrays where None.

    Returns
    -------
    array
        Of the same shape.

    Raises
    ------
    TypeError
        If `permutation` is not an array of integers.
    ValueError
        If its length is not the width of `array` along `axis`.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> rgo_core.permute(np.asarray([10.0, 11.0, 12.0]), np.asarray([2, 0, 1]))
    array([12., 10., 11.])
    """
    xp = resolve(xp, array, permutation)
    _check_permutation(permutation, xp)
    if not -array.ndim <= axis < array.ndim:
        raise ValueError(f"axis {axis} is outside an array of {array.ndim} axes")
    if permutation.shape[0] != array.shape[axis]:
        raise ValueError(
            f"permutation must have the {array.shape[axis]} entries of axis {axis}, "
            f"got {permutation.shape[0]}"
        )
    return xp.take(array, permutation, axis=axis)


def _check_permutation(permutation: Array, xp: Namespace) -> None:
    if not xp.isdtype(permutation.dtype, "integral"):
        raise TypeError(
            f"permutation must be an array of integers, got dtype {permutation.dtype}"
        )
    if permutation.ndim != 1:
        raise ValueError(
            f"permutation must have shape (width,), got {tuple(permutation.shape)}"
        )
