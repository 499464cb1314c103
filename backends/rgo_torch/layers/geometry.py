"""The sizes of a convolution: how far it pads, and what an image has of each."""

from collections.abc import Sequence

from torch import nn


def pair(value: Sequence[int]) -> tuple[int, int]:
    """Return what an image has of each: a sequence is one of a single row."""
    return (1, value[0]) if len(value) == 1 else (value[0], value[1])


def padding_of(module: nn.Conv1d | nn.Conv2d) -> list[int]:
    """Return the padding before and after each axis, the last axis first."""
    if module.padding == "valid":
        return [0] * (2 * len(module.kernel_size))
    found: list[int] = []
    for axis, (length, step) in enumerate(
        zip(module.kernel_size, module.dilation, strict=True)
    ):
        if module.padding == "same":
            total = step * (length - 1)
            found = [total // 2, total - total // 2, *found]
        else:
            found = [int(module.padding[axis])] * 2 + found
    return found
