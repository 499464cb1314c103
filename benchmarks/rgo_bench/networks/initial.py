"""The initial weights of the networks."""

import math

import torch
from torch import nn


@torch.no_grad()
def draw_uniform(layer: nn.Linear | nn.Conv2d, generator: torch.Generator) -> None:
    """Draw a layer's weights uniform in a bound, as Chaudhry et al. (2020) do.

    The bound is ``1/sqrt(n)`` for the n inputs of a linear layer and ``1/sqrt(k c)``
    for a convolution of kernel side k and c input channels. Side, not area: of inputs
    with mean square 1 a linear layer's sums have the variance 1/3, a convolution's k/3.
    Biases become 0.
    """
    # The weights of one output have the shape (n), or (c, k, k).
    bound = 1 / math.sqrt(math.prod(layer.weight.shape[1:3]))
    layer.weight.uniform_(-bound, bound, generator=generator)
    if layer.bias is not None:
        layer.bias.zero_()


@torch.no_grad()
def draw_glorot(layer: nn.Linear, generator: torch.Generator) -> None:
    """Draw a layer's weights as Glorot and Bengio (2010); its biases become 0.1."""
    nn.init.xavier_uniform_(layer.weight, generator=generator)
    layer.bias.fill_(0.1)


def draw_all(network: nn.Module, seed: int) -> None:
    """Draw the weights of all linear and convolutional layers, in their order."""
    # On the host, so that a seed gives the same weights on every device.
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            draw_uniform(module, generator)
