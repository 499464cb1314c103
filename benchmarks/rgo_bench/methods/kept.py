"""What a method keeps, in bytes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor


def tensor_bytes(state: Any) -> int:
    """Return the bytes of all tensors and arrays in a state; the rest counts nothing.

    A tensor that stands in two places counts in both, as in a checkpoint.

    >>> import torch
    >>> tensor_bytes({"weights": [torch.zeros(3), torch.zeros(2)], "task": 1})
    20
    """
    if isinstance(state, Tensor | np.ndarray):
        return int(state.nbytes)
    if isinstance(state, Mapping):
        return sum(map(tensor_bytes, state.values()))
    if isinstance(state, list | tuple):
        return sum(map(tensor_bytes, state))
    return 0
