"""The network of the MNIST streams."""

import itertools
import math

import torch
from torch import nn

HIDDEN = 256


def mlp(input_shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    """Make the paper's MLP: two hidden layers of 256 units with ReLU, then the head.

    Parameters
    ----------
    input_shape : tuple of int
        Of one input; one with more than one axis is flattened first.
    classes : int
        The outputs of the head.
    seed : int
        Draws the weights: uniform in +-1/sqrt(n) for n inputs; biases are 0.

    Returns
    -------
    nn.Module
        784-256-256-10 for MNIST.
    """
    widths = [math.prod(input_shape), HIDDEN, HIDDEN, classes]
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = [nn.Flatten()] if len(input_shape) > 1 else []
    for inputs, outputs in itertools.pairwise(widths):
        linear = nn.Linear(inputs, outputs)
        bound = 1 / math.sqrt(inputs)
        with torch.no_grad():
            linear.weight.uniform_(-bound, bound, generator=generator)
            linear.bias.zero_()
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])
