"""Layers to draw."""

import torch
from hypothesis import assume
from hypothesis import strategies as st
from torch import nn

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
