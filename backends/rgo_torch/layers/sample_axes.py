"""Along which axis of a module's tensors its samples lie."""

from typing import Any

from torch import Tensor

from rgo_torch.layers.layer import Vectors

SECOND = 1  # where time comes first


def is_time_first(shape: tuple[int, ...], axis: int, wanted: Vectors) -> bool:
    """Whether samples are along the second axis, where the first was expected to.

    Not where the first has several entries a sample, such as windows of an image.
    """
    first, *others = shape
    alike = axis == 0 and len(others) > 1 and others[0] == wanted.samples
    return alike and first > 1 and first % wanted.samples != 0


def axis_of_length(leaf: Any, axis: int, length: int) -> int | None:
    """Return the axis, where the leaf is a tensor with that length along it."""
    fits = isinstance(leaf, Tensor) and leaf.ndim > axis and leaf.shape[axis] == length
    return axis if fits else None


def with_axis(leaf: Any, axis: int | None) -> Any:
    """Give a sample back the axis that `torch.func.vmap` took away."""
    return leaf if axis is None else leaf.unsqueeze(axis)
