"""Training steps through `torch.compile`."""

import os
import shutil
import sys
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

Forward = Callable[[Tensor], Tensor]

BACKEND: Final = "inductor"


def check_compiler() -> None:
    """Raise OSError unless there is the C++ compiler that PyTorch would call."""
    name = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(name) is None:
        raise OSError(
            f"--compile: expected a C++ compiler, which the environment variable CXX "
            f"may name, got none: there is no {name}"
        )


def compiled_forward(
    network: nn.Module, device: torch.device, *, backend: str = BACKEND
) -> Forward:
    """Return what a training step calls in place of the network.

    It is compiled when it is called first. The network itself stays as it is, for
    whatever else it is called for: tests come in batches of another size, and a
    curvature pass looks inside.
    """
    # On CUDA steps are replayed as CUDA graphs: at a batch of 10 it is the launches
    # that take the time.
    graphs = device.type == "cuda" and backend == BACKEND
    mode = "reduce-overhead" if graphs else None
    # Few sizes come up, again and again: code for any size would be slower.
    forward: Forward = torch.compile(network, backend=backend, mode=mode, dynamic=False)
    return forward


def begin_step(device: torch.device) -> None:
    """Let CUDA graphs write over the results of the step before."""
    if device.type == "cuda":
        torch.compiler.cudagraph_mark_step_begin()
