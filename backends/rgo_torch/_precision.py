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

import torch
from torch import Tensor


def true_float32(tensor: Tensor) -> AbstractContextManager[object]:
    """Switch autocast and TF32 off for products on the device of `tensor`."""
    device = tensor.device.type
    casts = torch.is_autocast_enabled(device)
    if not casts and device != "cuda":
        return nullcontext()
    stack = ExitStack()
    if casts:
        stack.enter_context(torch.autocast(device, enabled=False))
    if device == "cuda":
        stack.enter_context(without_tf32())
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
