"""The network of the MNIST streams."""

import itertools
import math
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from rgo_bench.networks.initial import draw_glorot, draw_uniform

HIDDEN = 256


def mlp(
    input_shape: tuple[int, ...],
    classes: int,
    seed: int,
    *,
    draw: Callable[[nn.Linear, torch.Generator], None] = draw_uniform,
) -> nn.Module:
    """Make the paper's MLP: two hidden layers of 256 units with ReLU, then the head.

    An input with more than one axis is flattened first. By default weights are uniform
    in +-1/sqrt(n) for n inputs of a layer, and biases are 0.
    """
    widths = [math.prod(input_shape), HIDDEN, HIDDEN, classes]
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = [nn.Flatten()] if len(input_shape) > 1 else []
    for inputs, outputs in itertools.pairwise(widths):
        linear = nn.Linear(inputs, outputs)
        draw(linear, generator)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


# The same with initial weights of Glorot and Bengio (2010), and biases of 0.1.
mlp_glorot = partial(mlp, draw=draw_glorot)
