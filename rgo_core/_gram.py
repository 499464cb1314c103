"""Gram matrices: each library's update ``H += X^T X``, and their eigenvalues."""

import sys

import numpy as np
from array_api_compat import is_numpy_namespace, is_torch_namespace
from scipy.linalg import blas

from rgo_core._matrices import mirror
from rgo_core._typing import Array, Namespace

# Entries of X from which on half a product and its mirror image are faster than a whole
# one: measured on one thread.
LARGE = 2**16


def add_gram(matrix: Array, rows: Array, xp: Namespace) -> Array:
    """Add ``rows^T rows``, in the memory of `matrix` where that can be written to.

    A symmetric `matrix` stays so, bit by bit where the update is large and on the host:
    BLAS then forms one triangle, in half the multiplications, and the other is copied.
    """
    if matrix.ndim == 2 and rows.shape[-2] * rows.shape[-1] >= LARGE:
        target, given = host_view(matrix, xp), host_view(rows, xp)
        # BLAS adds to a copy of what is not aligned, and writes to what is read-only.
        if target is not None and given is not None and target.flags.carray:
            _add_on_host(target, given)
            return matrix
    if is_torch_namespace(xp):
        if matrix.ndim > 3:  # `baddbmm_` takes groups along one axis only
            return matrix.add_(rows.mT @ rows)
        add = matrix.addmm_ if matrix.ndim == 2 else matrix.baddbmm_
        return add(rows.mT, rows)
    if is_numpy_namespace(xp):
        matrix += rows.mT @ rows
        return matrix
    return matrix + rows.mT @ rows


def host_view(array: Array, xp: Namespace) -> np.ndarray | None:
    """Return an array by rows as NumPy's, in the same memory; None if it cannot be."""
    if is_numpy_namespace(xp):
        found = array if isinstance(array, np.ndarray) else None
    elif is_torch_namespace(xp) and _is_plain(array):
        found = array.numpy()
    else:
        found = None
    return found if found is not None and found.flags.c_contiguous else None


def _is_plain(tensor: Array) -> bool:
    """Whether a tensor is on the host, without derivatives, compiler or transform."""
    torch = sys.modules["torch"]
    return (
        not torch.compiler.is_compiling()
        and type(tensor) is torch.Tensor
        and tensor.device.type == "cpu"
        and not tensor.requires_grad
        and not tensor.is_neg()  # of which NumPy knows nothing
        and not torch._C._are_functorch_transforms_active()
        and torch.autograd.forward_ad.unpack_dual(tensor).tangent is None
    )


def _add_on_host(matrix: np.ndarray, rows: np.ndarray) -> None:
    # Seen by columns, as BLAS does, the lower triangle is that above the diagonal.
    blas.dsyrk(1.0, rows.T, beta=1.0, c=matrix.T, lower=True, overwrite_c=True)
    mirror(matrix)


def eigh_gram(gram: Array, xp: Namespace) -> tuple[Array, Array]:
    """Return the eigenvalues, ascending, and eigenvectors of a Gram matrix.

    Of one whose rows are of lengths many powers of ten apart some LAPACKs do not find
    them; its singular values are the same, and slower.
    """
    try:
        values, vectors = xp.linalg.eigh(gram)
    except (RuntimeError, np.linalg.LinAlgError):  # PyTorch's and NumPy's
        vectors, values, _ = xp.linalg.svd(gram)
        return xp.flip(values, axis=-1), xp.flip(vectors, axis=-1)
    return values, vectors
