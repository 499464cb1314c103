"""What tests of several workers need, and what PyTorch says of them."""

import pytest
import torch
from torch import distributed

NEEDS_GLOO = pytest.mark.skipif(
    not distributed.is_available() or not distributed.is_gloo_available(),
    reason="needs gloo",
)
# Older versions have fully_shard on GPUs alone.
NEEDS_FULLY_SHARD = pytest.mark.skipif(
    not hasattr(torch.cpu.Stream, "record_event"),
    reason="needs fully_shard on CPUs",
)
# What a process by itself saves it need not gather, says PyTorch.
ALONE = pytest.mark.filterwarnings("ignore:torch.distributed is .*:UserWarning")
