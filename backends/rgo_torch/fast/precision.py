"""Products in true float32, whatever the user's flags.

Coarser products leak more of the old tasks' loss through an ill-conditioned
projection.
"""

from collections.abc import Iterator
from contextlib import (
    AbstractContextManager,
    ExitStack,
    contextmanager,
    nullcontext,
)
from functools import cache
from typing import Any

import torch
from torch import Tensor

from rgo_torch.modules.torch_private import is_any_autocast, rounding_of_products

# For the hot path: one object for all, and what never changes asked once.
PLAIN = nullcontext()
_can_autocast = cache(torch.amp.is_autocast_available)


def is_autocast(tensor: Tensor) -> bool:
    """Whether autocast is on for the device of `tensor`, where it can be."""
    if not is_any_autocast():
        return False
    device = tensor.device.type
    return _can_autocast(device) and torch.is_autocast_enabled(device)


def true_float32(tensor: Tensor) -> AbstractContextManager[object]:
    """Switch autocast and coarser formats off for products on a tensor's device."""
    coarse = tensor.is_cuda or (tensor.is_cpu and _rounds_on_cpu())
    casts = is_autocast(tensor)
    if not casts and not coarse:
        return PLAIN
    device = tensor.device.type
    stack = ExitStack()
    if casts:
        stack.enter_context(torch.autocast(device, enabled=False))
    if coarse:
        stack.enter_context(without_tf32() if device == "cuda" else _exact_on_cpu())
    return stack


@contextmanager
def without_tf32() -> Iterator[None]:
    """Switch TF32 off for CUDA matrix products, and back to what it was."""
    flags = torch.backends.cuda.matmul
    # The newer flag, where there is one: PyTorch refuses a mix of the two.
    name = "fp32_precision" if hasattr(flags, "fp32_precision") else "allow_tf32"
    before = getattr(flags, name)
    setattr(flags, name, "ieee" if name == "fp32_precision" else False)
    try:
        yield
    finally:
        setattr(flags, name, before)


def _rounds_on_cpu() -> bool:
    """Whether oneDNN may multiply in bfloat16: `torch.set_float32_matmul_precision`."""
    rounding = rounding_of_products()
    if rounding is None:
        rounding = getattr(_cpu_flags(), "fp32_precision", "none")
    return rounding in ("tf32", "bf16")


@contextmanager
def _exact_on_cpu() -> Iterator[None]:
    flags = _cpu_flags()
    before = flags.fp32_precision
    flags.fp32_precision = "ieee"
    try:
        yield
    finally:
        flags.fp32_precision = before


def _cpu_flags() -> Any:
    return getattr(torch.backends.mkldnn, "matmul", None)  # not in older versions
