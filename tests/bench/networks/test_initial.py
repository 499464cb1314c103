import math

import pytest
import torch
from torch import nn

from rgo_bench.networks.initial import draw_uniform


@pytest.mark.parametrize(
    ("layer", "bound"),
    [
        (nn.Linear(100, 50), 1 / math.sqrt(100)),
        (nn.Conv2d(12, 32, 5), 1 / math.sqrt(5 * 12)),
        (nn.Conv2d(64, 8, 1), 1 / math.sqrt(64)),
    ],
)
def test_weights_fill_their_bound(layer: nn.Linear | nn.Conv2d, bound: float) -> None:
    draw_uniform(layer, torch.Generator().manual_seed(0))
    largest = float(layer.weight.detach().abs().max())
    assert 0.97 * bound < largest <= bound
    assert layer.bias is not None
    assert not bool(layer.bias.detach().any())
