"""Layers to draw, and what holds of all of them."""

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import nn
from torch_backend.tolerance import assert_near

from rgo_torch.layers.rows import RowLayer, rows_of

# PyTorch tells once that an even kernel costs a copy.
SAME = "ignore:Using padding='same':UserWarning"


@st.composite
def convolutions(draw: st.DrawFn) -> nn.Conv2d:
    """Draw a convolution of 4 channels that fits an image of 6 x 5."""
    small = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel, stride = draw(small), draw(st.sampled_from([1, 2, (1, 2)]))
    padding = draw(st.sampled_from(["same", "valid", 0, 1, (2, 0)]))
    assume(padding != "same" or stride == 1)
    groups = draw(st.sampled_from([1, 2, 4]))
    torch.manual_seed(0)
    return nn.Conv2d(
        4,
        draw(st.sampled_from([4, 8])),
        kernel,
        stride=stride,
        padding=padding,
        padding_mode=draw(st.sampled_from(["zeros", "reflect", "circular"])),
        dilation=draw(st.sampled_from([1, 2, (2, 1)])),
        groups=groups,
        bias=draw(st.booleans()),
    ).double()


def assert_factors(layer: RowLayer, x: torch.Tensor) -> None:
    """Demand ``D^T X == G`` for a random output gradient."""
    output = layer.module(x)
    d = torch.randn_like(output)
    (gradient,) = torch.autograd.grad(output, layer.weight, d)
    inputs, outputs = rows_of(layer.input_rows(x)), rows_of(layer.output_rows(d))
    assert inputs.shape[-1] == layer.features
    assert inputs.shape[-2] == layer.row_count(x)
    assert output.shape[layer.channel_axis] == layer.width
    product = outputs.mT @ inputs
    assert_near(product, layer.weight_rows(gradient), amplification=len(inputs))
