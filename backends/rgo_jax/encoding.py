"""The feature encoding layer, the task index traced: one program serves all tasks."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import rgo_core
from rgo_core._checks import check_integer
from rgo_core._namespace import is_traced
from rgo_jax.ranks import any_ranks


class Encoding(NamedTuple):
    """The permutations of a layer's channels, a row for each task."""

    permutations: Array  # (tasks, width) int32
    inverses: Array  # (tasks, width) int32


def make_encoding(width: int, *, tasks: int, name: str, seed: int = 0) -> Encoding:
    """Draw a layer's permutations: those of `rgo_core.task_permutation`.

    Parameters
    ----------
    width : int
        How many channels the layer has.
    tasks : int
        How many tasks there may be.
    name : str
        The layer's name: two layers of one width get different permutations.
    seed : int
        At least 0.

    Returns
    -------
    Encoding
        The first task's is the identity.

    Raises
    ------
    ValueError
        If `tasks` is not an integer of at least 1, or as `rgo_core.task_permutation`
        does.

    References
    ----------
    Liu and Liu, "Continual Learning with Recursive Gradient Optimization", ICLR 2022,
    section 4.

    Examples
    --------
    >>> import rgo_jax
    >>> rgo_jax.make_encoding(4, tasks=2, name="hidden").permutations
    Array([[0, 1, 2, 3],
           [0, 1, 3, 2]], dtype=int32)
    """
    check_integer("tasks", tasks, 1)
    drawn = [
        rgo_core.task_permutation(width, task=task, name=name, seed=seed)
        for task in range(tasks)
    ]
    inverses = [rgo_core.inverse_permutation(permutation) for permutation in drawn]
    return Encoding(
        jnp.asarray(np.stack(drawn).astype(np.int32)),
        jnp.asarray(np.stack(inverses).astype(np.int32)),
    )


@any_ranks
def encode(
    features: Array, encoding: Encoding, task: int | Array, *, axis: int = -1
) -> Array:
    """Permute the channels of features for a task.

    Parameters
    ----------
    features : array
        With `width` channels along `axis`.
    encoding : Encoding
    task : int or integer array ()
        May be traced: beyond the last task of the encoding the result is then NaN (the
        smallest value of a signed integer dtype), never that of another task.
    axis : int

    Returns
    -------
    array
        Of the same shape.

    Raises
    ------
    ValueError
        If the width is not that of the encoding, `task` is not an integer, or one that
        is not traced is outside of it; if the encoding holds no permutations, as one
        that was restored without its values (traced: the result is NaN, too).

    Notes
    -----
    Gathers back as well as forward: the scatter that JAX would derive is slow. May be
    differentiated in every mode.

    References
    ----------
    Liu and Liu (2022), section 4.

    Examples
    --------
    >>> import jax.numpy as jnp, rgo_jax
    >>> encoding = rgo_jax.make_encoding(4, tasks=2, name="hidden")
    >>> rgo_jax.encode(jnp.asarray([0.0, 1.0, 2.0, 3.0]), encoding, 1)
    Array([0., 1., 3., 2.], dtype=float32)
    """
    tasks, width = encoding.permutations.shape
    if not -features.ndim <= axis < features.ndim or features.shape[axis] != width:
        raise ValueError(
            f"expected {width} channels along axis {axis}, got shape {features.shape}"
        )
    _check_task(task, tasks)
    index = jnp.asarray(task, jnp.uint32)  # a negative one is beyond the last, too
    permutation, inverse = (
        rows.at[index].get(mode="fill", fill_value=width) for rows in encoding
    )
    # What a checkpoint left without its values would give all features the first's.
    back = inverse.at[permutation].get(mode="fill", fill_value=width)
    is_whole = (back == jnp.arange(width)).all()
    if not is_traced(is_whole) and not bool(is_whole):
        raise ValueError(
            "expected an encoding of permutations and their inverses, got other "
            "numbers: was it restored without its values?"
        )
    permutation = jnp.where(is_whole, permutation, width)
    return _permute(features, permutation, inverse, axis % features.ndim)


def _check_task(task: int | Array, tasks: int) -> None:
    """Refuse what is no index of a task; of a traced one the kind alone can be seen."""
    given: Any = task if is_traced(task) else np.asarray(task)
    is_index = given.ndim == 0 and np.dtype(given.dtype).kind in "iub"
    if not is_index or not (is_traced(task) or 0 <= int(given) < tasks):
        shown = int(given) if is_index else repr(task)
        raise ValueError(f"task must be an integer, one of 0..{tasks - 1}, got {shown}")


def _permute(features: Array, permutation: Array, inverse: Array, axis: int) -> Array:
    """Permute, as what a solver of linear equations returns.

    Forward-mode and reverse-mode derivatives then permute, too, the latter back.
    """

    def forth(features: Array) -> Array:
        permuted: Array = rgo_core.permute(features, permutation, axis=axis, xp=jnp)
        return permuted

    def back(features: Array) -> Array:
        restored: Array = rgo_core.permute(features, inverse, axis=axis, xp=jnp)
        return restored

    if not jnp.issubdtype(features.dtype, jnp.inexact):
        return forth(features)
    solved: Array = jax.lax.custom_linear_solve(
        back, features, lambda _, x: forth(x), lambda _, x: back(x)
    )
    return solved
