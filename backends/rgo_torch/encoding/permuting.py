"""Channels gathered in another order, forward and back."""

from typing import Any

import torch
from torch import Tensor

from rgo_torch.modules.wrappers import is_transformed

# Entries up to which PyTorch's own gather, and its sum back, is faster on the CPU.
SMALL = 2**15


class _Permute(torch.autograd.Function):
    """Gather forward and gather back.

    Autograd alone would scatter-add, which is far slower for an image.
    """

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, permutation: Tensor, inverse: Tensor, axis: int
    ) -> Tensor:
        ctx.save_for_backward(permutation, inverse)
        ctx.axis = axis
        if axis in (-1, features.ndim - 1):
            # Of two axes PyTorch gathers the last one several times faster on the CPU.
            rows = features.reshape(-1, features.shape[-1])
            # No view: what follows may overwrite it.
            gathered = torch.empty_like(features, memory_format=torch.contiguous_format)
            torch.index_select(rows, 1, permutation, out=gathered.view(rows.shape))
            return gathered
        return features.index_select(axis, permutation)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        permutation, inverse = ctx.saved_tensors
        # Through itself, so that it can be differentiated again.
        return (
            permute_channels(gradient, inverse, permutation, ctx.axis),
            None,
            None,
            None,
        )


def permute_channels(
    features: Tensor, permutation: Tensor, inverse: Tensor, axis: int
) -> Tensor:
    """Return ``features[..., permutation, ...]``, which `inverse` undoes."""
    if is_transformed() or _is_small(features):
        return features.index_select(axis, permutation)
    permuted: Tensor = _Permute.apply(features, permutation, inverse, axis)  # type: ignore[no-untyped-call]
    return permuted


def _is_small(features: Tensor) -> bool:
    """Whether a function of one's own costs more than PyTorch's backward pass."""
    return (
        not torch.compiler.is_compiling()
        and features.device.type == "cpu"
        and features.numel() <= SMALL
    )
