"""Networks of convolutions and pooling, then fully connected layers."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from rgo_bench.networks.initial import draw_all


class Convolution(NamedTuple):
    """A convolution with ReLU; 2 x 2 max-pooling where `pool`."""

    kernel: int
    channels: int
    padding: int = 0
    pool: bool = True


LENET_5 = (Convolution(5, 20, padding=2), Convolution(5, 50, padding=2))
ALEXNET_6 = (Convolution(4, 64), Convolution(3, 128), Convolution(2, 256))
ALEXNET_7 = (
    Convolution(5, 64),
    Convolution(4, 128),
    Convolution(3, 128),
    Convolution(3, 128),
)
# Channels of each block between two poolings: configurations A and B.
VGG_11 = ((64,), (128,), (256, 256), (512, 512), (512, 512))
VGG_13 = ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512))


def lenet_5(input_shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    """Make LeNet-5 as the paper widens it: 20 and 50 channels, then 800 and 500.

    Parameters
    ----------
    input_shape : tuple of int
        (channels, height, width).
    classes : int
        The outputs of the head.
    seed : int
        Draws the weights, see `draw_uniform`; biases are 0.

    Returns
    -------
    nn.Module

    Raises
    ------
    ValueError
        If the input is not an image or too small for the poolings.
    """
    return _network(input_shape, classes, seed, LENET_5, hidden=(800, 500))


def alexnet_6(input_shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    """Make AlexNet-6: three convolutions, then 2048 and 2048; see `lenet_5`."""
    return _network(input_shape, classes, seed, ALEXNET_6, hidden=(2048, 2048))


def alexnet_7(input_shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    """Make AlexNet-7: four convolutions, then 2048 and 2048; see `lenet_5`."""
    return _network(input_shape, classes, seed, ALEXNET_7, hidden=(2048, 2048))


def vgg_11(input_shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    """Make VGG-11, configuration A of Simonyan and Zisserman (2015); see `lenet_5`."""
    return _network(input_shape, classes, seed, _blocks(VGG_11), hidden=(4096, 4096))


def vgg_13(input_shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    """Make VGG-13, configuration B of Simonyan and Zisserman (2015); see `lenet_5`."""
    return _network(input_shape, classes, seed, _blocks(VGG_13), hidden=(4096, 4096))


def check_image(network: str, input_shape: tuple[int, ...], least: int) -> None:
    """Raise unless inputs are images of at least `least` pixels a side."""
    if len(input_shape) != 3 or min(input_shape[1:]) < least:
        raise ValueError(
            f"{network}: expected images (channels, height, width) of at least "
            f"{least} x {least} pixels, got inputs of shape {tuple(input_shape)}"
        )


def _blocks(channels: Sequence[Sequence[int]]) -> list[Convolution]:
    return [
        Convolution(3, width, padding=1, pool=place == len(block))
        for block in channels
        for place, width in enumerate(block, 1)
    ]


def _network(
    input_shape: tuple[int, ...],
    classes: int,
    seed: int,
    convolutions: Sequence[Convolution],
    hidden: Sequence[int],
) -> nn.Module:
    check_image("network", input_shape, _least(convolutions))
    layers: list[nn.Module] = []
    channels = input_shape[0]
    for kernel, width, padding, pool in convolutions:
        layers += [nn.Conv2d(channels, width, kernel, padding=padding), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if pool else []
        channels = width
    layers.append(nn.Flatten())
    with torch.no_grad():
        features = nn.Sequential(*layers)(torch.zeros(1, *input_shape)).shape[1]
    for inputs, outputs in itertools.pairwise((features, *hidden)):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Linear(hidden[-1], classes))
    draw_all(network, seed)
    return network


def _least(convolutions: Sequence[Convolution]) -> int:
    """Return the side of the smallest image that leaves something to flatten."""
    side = 1
    for kernel, _, padding, pool in reversed(convolutions):
        side = max(1, (2 * side if pool else side) + kernel - 1 - 2 * padding)
    return side
