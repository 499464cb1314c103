"""A file for the state that JAX alone would round: float64 second moments among it."""

from collections.abc import Set
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rgo_core._checks import check_finite, few_names
from rgo_jax.forms import Moment
from rgo_jax.projection import ProjectionState

NUMBERS = (bool, int, float, complex)
PICKLED = np.dtype(object)


def save(path: str | Path, tree: Any) -> None:
    """Write the arrays of a pytree to a file of NumPy's.

    Parameters
    ----------
    path : path
        Of the file, as it is called (``.npz`` by custom).
    tree : pytree of arrays
        Parameters, the state of an optimizer, second moments, or a tuple of them; and
        numbers of Python's, such as a count of tasks.

    Raises
    ------
    TypeError
        If a leaf is neither an array nor a number. No file is written then.

    Notes
    -----
    Nothing is rounded, and no code is stored. Orbax keeps second moments too, given as
    NumPy arrays, ``jax.device_get(moments)``, both to save and as what to restore.

    Examples
    --------
    >>> import tempfile, jax.numpy as jnp, rgo_jax
    >>> moments = rgo_jax.observe({}, {"kernel": jnp.ones((4, 3))})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rgo_jax.save(folder + "/moments.npz", moments)
    ...     again = rgo_jax.load(folder + "/moments.npz", moments)
    >>> again["kernel"].matrix.dtype
    dtype('float64')
    """
    arrays = {name: _stored(name, leaf) for name, leaf in _named(tree)}
    with Path(path).open("wb") as file:
        # No option: older NumPy takes each for an array of that name.
        np.savez(file, **arrays)  # type: ignore[arg-type]


def load(path: str | Path, like: Any) -> Any:
    """Read the arrays of a pytree that `save` wrote.

    Parameters
    ----------
    path : path
    like : pytree of arrays
        Of the same structure, shapes and dtypes: what a fresh start makes. Its values
        do not matter. A number of Python's stands for one of its kind.

    Returns
    -------
    pytree of arrays
        Of JAX, float64 where they were, whatever `jax_enable_x64` says; numbers of
        Python's where `like` has them.

    Raises
    ------
    ValueError
        If the file holds other arrays than `like`, by name, shape or dtype, or NaN or
        infinity in a second moment or projection.
    TypeError
        If a leaf of `like` is neither an array nor a number.

    Examples
    --------
    >>> import tempfile, jax.numpy as jnp, optax, rgo_jax
    >>> params = {"kernel": jnp.ones((3, 2))}
    >>> optimizer = optax.chain(rgo_jax.project_gradients(), optax.sgd(0.1))
    >>> fresh = optimizer.init(params), rgo_jax.empty_moments(params)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rgo_jax.save(folder + "/state.npz", fresh)
    ...     state, moments = rgo_jax.load(folder + "/state.npz", like=fresh)
    """
    with np.load(path, allow_pickle=False) as file:
        stored = {name: file[name] for name in file.files}
    expected = dict(_named(like))
    _check_names(path, expected.keys(), stored.keys())
    with jax.enable_x64(True):
        arrays = [_restored(name, stored[name], leaf) for name, leaf in _named(like)]
        tree = jax.tree.unflatten(jax.tree.structure(like), arrays)
        _check_kept(path, tree)
    return tree


def _check_names(path: str | Path, expected: Set[str], stored: Set[str]) -> None:
    lacking = few_names(sorted(expected - stored))
    strange = few_names(sorted(stored - expected))
    got = [f"none of {lacking}"] * bool(lacking) + [strange] * bool(strange)
    if got:
        raise ValueError(
            f"{path}: expected the {len(expected)} arrays of `like`, got "
            f"{', but '.join(got)}"
        )


def _check_kept(path: str | Path, tree: Any) -> None:
    """Refuse NaN in what protects; parameters may be what they are."""

    def is_kept(node: Any) -> bool:
        return isinstance(node, ProjectionState | Moment)

    for node in jax.tree.leaves(tree, is_leaf=is_kept):
        for part in jax.tree.leaves(node) if is_kept(node) else ():
            check_finite(f"{path}: a second moment or projection", part, jnp)


def _stored(name: str, leaf: Any) -> np.ndarray[Any, Any]:
    dtype = getattr(leaf, "dtype", PICKLED)
    if not isinstance(leaf, NUMBERS) and dtype == PICKLED:
        raise TypeError(
            f"{name}: expected a tree of arrays and numbers, got a "
            f"{type(leaf).__name__}"
        )
    return np.asarray(leaf)


def _restored(name: str, array: np.ndarray[Any, Any], leaf: Any) -> Any:
    is_number = not hasattr(leaf, "dtype")
    leaf = _stored(name, leaf) if is_number else leaf  # else it may be a shape alone
    dtype = np.dtype(leaf.dtype)
    # NumPy keeps the bits of bfloat16 and forgets its name.
    if array.dtype.kind == "V" and array.dtype.itemsize == dtype.itemsize:
        array = array.view(dtype)
    if (array.shape, array.dtype) != (tuple(leaf.shape), dtype):
        raise ValueError(
            f"{name}: expected {dtype} of shape {tuple(leaf.shape)}, got "
            f"{array.dtype} of shape {array.shape}"
        )
    return array.item() if is_number else jnp.asarray(array)


def _named(tree: Any) -> list[tuple[str, Any]]:
    flat = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(keys), leaf) for keys, leaf in flat]
