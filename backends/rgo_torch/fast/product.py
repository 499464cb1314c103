"""Rows times a projection, by the faster of the two libraries that PyTorch has."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from rgo_core.projecting import apply_unchecked
from rgo_torch.fast.precision import true_float32
from rgo_torch.modules.torch_private import is_functional

# Multiplications from which on oneDNN is faster, copies and all: measured on one thread
# of a CPU with AVX-512, where it takes less than half as long as MKL.
LARGE = 2**24


def projected_rows(projection: Any, rows: Tensor) -> Tensor:
    """Return ``X P`` as `rgo_core.project` does, in true float32, if the shapes fit.

    Parameters
    ----------
    projection : Tensor (..., n, n), DiagonalProjection or LowRankProjection
        P, symmetric.
    rows : Tensor (..., r, n) or (n,)
        X, in the dtype of P.

    Returns
    -------
    Tensor
        Of the shape of `rows`.
    """
    with true_float32(rows):
        return rows_times(projection, rows)


def rows_times(projection: Any, rows: Tensor) -> Tensor:
    """Do as `projected_rows`, for one who has made sure of true float32."""
    if multiplications(projection, rows) < LARGE or not can_use_onednn(
        projection, rows
    ):
        projected: Tensor = apply_unchecked(projection, rows, -1)
        return projected
    # What is in oneDNN's own layout is multiplied by oneDNN.
    return functional.linear(rows.to_mkldnn(), lying_by_rows(projection)).to_dense()


def multiplications(projection: Any, rows: Tensor) -> int:
    """Return how many a product with a matrix P takes; of another form, fewer."""
    return rows.numel() * len(projection)


def lying_by_rows(projection: Tensor) -> Tensor:
    """Return P as oneDNN need not copy it: what a Cholesky inverse makes is P^T."""
    return projection if projection.is_contiguous() else projection.mT


def can_use_onednn(projection: Any, rows: Tensor) -> bool:
    """Whether oneDNN multiplies such rows by such a projection."""
    return (
        rows.ndim == 2
        and isinstance(projection, Tensor)
        and rows.device.type == "cpu"
        and rows.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        # Its products do not tell their derivatives to every transformation.
        and not torch.is_grad_enabled()
        and not is_functional()
    )
