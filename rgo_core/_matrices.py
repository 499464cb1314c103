"""What several modules need of arrays, of square matrices above all."""

import numpy as np
from array_api_compat import is_numpy_namespace, is_torch_namespace

from rgo_core._namespace import device_of
from rgo_core._typing import Array, Namespace

TILE = 128  # side of the squares that are mirrored: measured on one thread
_BELOW = np.tri(TILE, k=-1, dtype=bool)


def identity(n: int, like: Array, xp: Namespace) -> Array:
    """Return the identity (n, n), in the dtype and on the device of `like`."""
    return xp.eye(n, dtype=like.dtype, device=device_of(like))


def plus_identity(matrix: Array, xp: Namespace) -> Array:
    """Return ``I + matrix`` (..., n, n); `matrix` may be overwritten."""
    if is_torch_namespace(xp) and not matrix.requires_grad:
        matrix.diagonal(dim1=-2, dim2=-1).add_(1)
    elif is_numpy_namespace(xp):
        np.einsum("...ii->...i", matrix)[...] += 1
    else:
        matrix = identity(matrix.shape[-1], matrix, xp) + matrix
    return matrix


def mirror(matrix: np.ndarray) -> None:
    """Copy what lies above the diagonal of matrices (..., n, n) to below it."""
    n = matrix.shape[-1]
    for start in range(0, n, TILE):
        end = min(start + TILE, n)
        square = matrix[..., start:end, start:end]
        np.copyto(square, square.mT, where=_BELOW[: end - start, : end - start])
        matrix[..., end:, start:end] = matrix[..., start:end, end:].mT


def symmetrized(matrix: Array) -> Array:
    """Return ``(matrix + matrix^T) / 2``, bitwise symmetric."""
    total = matrix + matrix.mT
    total /= 2  # in its own memory, where the library has such
    return total


def widened(array: Array, xp: Namespace) -> Array:
    """Return an array in float32 at the least: half precision has too small a range."""
    return xp.astype(array, xp.result_type(array.dtype, xp.float32), copy=False)
