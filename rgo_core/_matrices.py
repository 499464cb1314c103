"""What several modules need of arrays, of square matrices above all."""

from rgo_core._namespace import device_of
from rgo_core._typing import Array, Namespace


def identity(n: int, like: Array, xp: Namespace) -> Array:
    """Return the identity (n, n), in the dtype and on the device of `like`."""
    return xp.eye(n, dtype=like.dtype, device=device_of(like))


def symmetrized(matrix: Array) -> Array:
    """Return ``(matrix + matrix^T) / 2``, bitwise symmetric."""
    return (matrix + matrix.mT) / 2


def widened(array: Array, xp: Namespace) -> Array:
    """Return an array in float32 at the least: half precision has too small a range."""
    return xp.astype(array, xp.result_type(array.dtype, xp.float32), copy=False)
