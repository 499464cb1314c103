"""Complex parameters as their real and imaginary parts, which is how they are stepped.

Both parts of an input are inputs: what is known of a real weight holds of 2n real ones.
"""

import torch
from torch import Tensor

from rgo_core import Axes


def real_view(tensor: Tensor) -> Tensor:
    """View a complex tensor as a real one with an axis of 2 at its end."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def real_shape(tensor: Tensor) -> tuple[int, ...]:
    """Return the shape of `real_view`."""
    return (*tensor.shape, 2) if tensor.is_complex() else tuple(tensor.shape)


def real_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of a complex dtype's parts."""
    return dtype.to_real() if dtype.is_complex else dtype


def real_axes(axes: Axes, tensor: Tensor) -> Axes:
    """Return the axes of a parameter's `real_view`, given those of itself."""
    if not tensor.is_complex():
        return axes
    viewed = axes.shape or tuple(tensor.shape)
    return axes._replace(
        inputs=(*axes.inputs, len(viewed)),
        shape=None if axes.shape is None else (*axes.shape, 2),
    )
