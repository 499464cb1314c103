"""What several modules need of square matrices."""

from rgo_core._namespace import device_of
from rgo_core._typing import Array, Namespace


def identity(n: int, like: Array, xp: Namespace) -> Array:
    """Return the identity (n, n), in the dtype and on the device of `like`."""
    return xp.eye(n, dtype=like.dtype, device=device_of(like))


def symmetrized(matrix: Array) -> Array:
    """Return ``(matrix + matrix^T) / 2``, bitwise symmetric."""
    return (matrix + matrix.mT) / 2
