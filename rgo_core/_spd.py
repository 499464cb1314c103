"""The one place that picks a backend's Cholesky factorisation."""

import numpy as np
from array_api_compat import is_jax_namespace, is_numpy_namespace, is_torch_namespace
from scipy.linalg import lapack

from rgo_core._gram import host_view
from rgo_core._matrices import identity, mirror, symmetrized
from rgo_core._namespace import is_traced
from rgo_core._typing import Array, Namespace


def spd_inverse(matrix: Array, xp: Namespace, *, donate: bool = False) -> Array:
    """Invert symmetric positive definite matrices (..., n, n), bitwise symmetric.

    One that is donated may be overwritten: NumPy and PyTorch on the host then need no
    other memory. Raises `numpy.linalg.LinAlgError` for a matrix that is not positive
    definite; while JAX traces, where nothing can be raised, the result is NaN. Cost
    n^3.
    """
    if is_numpy_namespace(xp):
        return _lapack_inverse(matrix if donate else matrix.copy())
    if is_torch_namespace(xp):
        inverse = _torch_inverse(matrix, xp, donate)
        on_host = host_view(inverse, xp)
        if on_host is not None:
            mirror(on_host)
            return inverse
    elif is_jax_namespace(xp):
        inverse = _jax_inverse(matrix, xp)
        found = xp.all(xp.isfinite(inverse))
        if not is_traced(found) and not bool(found):
            raise np.linalg.LinAlgError("the matrix is not positive definite")
    else:
        columns = identity(matrix.shape[-1], matrix, xp)
        root = xp.linalg.solve(xp.linalg.cholesky(matrix), columns)
        inverse = root.mT @ root
    return symmetrized(inverse)


def _torch_inverse(matrix: Array, xp: Namespace, donate: bool) -> Array:
    donate = donate and host_view(matrix, xp) is not None
    matrix = matrix.mT  # by columns, as LAPACK takes it
    inverse, places = {}, {}
    if donate:  # which PyTorch has no derivatives of
        info = matrix.new_empty(matrix.shape[:-2], dtype=xp.int32)
        inverse, places = {"out": matrix}, {"out": (matrix, info)}
    factor, info = xp.linalg.cholesky_ex(matrix, **places)
    if bool(xp.any(info != 0)):
        raise np.linalg.LinAlgError("the matrix is not positive definite")
    return xp.cholesky_inverse(factor, **inverse).mT


def _jax_inverse(matrix: Array, xp: Namespace) -> Array:
    from jax.lax import map as map_one_by_one
    from jax.scipy.linalg import cho_solve

    n = matrix.shape[-1]

    def inverse(one: Array) -> Array:
        return cho_solve((xp.linalg.cholesky(one), True), identity(n, one, xp))

    if matrix.ndim == 2:
        return inverse(matrix)
    # Several stacked solves in one program can lock each other out of XLA's threads
    # on the CPU (seen with jaxlib 0.10.2).
    stacked = xp.reshape(matrix, (-1, n, n))
    return xp.reshape(map_one_by_one(inverse, stacked), matrix.shape)


def _lapack_inverse(matrix: Array) -> Array:
    if 0 in matrix.shape:
        return matrix  # LAPACK refuses a matrix without rows.
    for index in np.ndindex(matrix.shape[:-2]):
        one = matrix[index]
        # LAPACK's lower triangle in Fortran order is NumPy's upper one.
        factor, info = lapack.dpotrf(one.T, lower=True, clean=False, overwrite_a=True)
        if info == 0:
            factor, info = lapack.dpotri(factor, lower=True, overwrite_c=True)
        if info != 0:
            raise np.linalg.LinAlgError("the matrix is not positive definite")
        one[...] = factor.T  # itself, but where LAPACK takes no such array
    mirror(matrix)
    matrix += 0.0  # LAPACK leaves negative zeros
    return matrix
