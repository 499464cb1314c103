"""Networks of convolutions and pooling, then fully connected layers.

Each says by `FeatureEncoding` modules where features are encoded. All convolutions have
stride 1, keep the size of the image and have no bias, as in the paper's runs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from rgo_bench.networks.initial import draw_all
from rgo_torch import FeatureEncoding


class Convolution(NamedTuple):
    """A convolution with ReLU, then max-pooling of stride 2 where `pool`."""

    kernel: int
    channels: int
    pool: int | None = 2  # the side of its windows
    encode: bool = True  # whether the channels are encoded
    bias: bool = False


# What is flattened next is encoded one by one, so that its channels need not be.
LENET_5 = (Convolution(5, 20, pool=3), Convolution(5, 50, pool=3, encode=False))
ALEXNET_6 = (
    Convolution(4, 64),
    Convolution(3, 128),
    Convolution(2, 256, encode=False),
)
ALEXNET_7 = (
    Convolution(5, 64),
    Convolution(4, 128),
    Convolution(3, 128),
    Convolution(3, 128, encode=False),
)
# Channels of each block between two poolings: configurations A and B.
VGG_11 = ((64,), (128,), (256, 256), (512, 512), (512, 512))
VGG_13 = ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512))


def lenet_5(input_shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    """Make the LeNet-5 that the paper trains with RGO.

    Two convolutions of side 5 to 20 and 50 channels, each pooled by overlapping windows
    of 3 x 3 with stride 2, then 800, 500 and the head. Encoded are the 20 channels, the
    flattened features one by one, 800 and 500.

    Parameters
    ----------
    input_shape : tuple of int
        (channels, height, width).
    classes : int
        The outputs of the head.
    seed : int
        Draws the weights, see `draw_uniform`; biases are 0.

    Raises
    ------
    ValueError
        If the input is not an image or too small for the poolings.
    """
    return _network("lenet-5", input_shape, classes, seed, LENET_5, (800, 500))


def lenet_5_unpooled(
    input_shape: tuple[int, ...], classes: int, seed: int
) -> nn.Module:
    """Make the LeNet-5 of the paper's STL and SGD, which has no pooling.

    It flattens 51,200 features of CIFAR's images: 17 times the weights of `lenet_5`,
    which see.
    """
    unpooled = [each._replace(pool=None) for each in LENET_5]
    return _network(
        "lenet-5-unpooled", input_shape, classes, seed, unpooled, (800, 500)
    )


def lenet_5_late(input_shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    """Make `lenet_5`, encoded from the flatten on: tasks share all convolutions."""
    late = [each._replace(encode=False) for each in LENET_5]
    return _network("lenet-5-late", input_shape, classes, seed, late, (800, 500))


def lenet_5_biased(input_shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    """Make `lenet_5` with convolution biases, to measure what they cost RGO."""
    biased = [each._replace(bias=True) for each in LENET_5]
    return _network("lenet-5-biased", input_shape, classes, seed, biased, (800, 500))


def alexnet_6(input_shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    """Make AlexNet-6: three convolutions, then 2048 and 2048; see `lenet_5`."""
    return _network("alexnet-6", input_shape, classes, seed, ALEXNET_6, (2048, 2048))


def alexnet_6_late(input_shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    """Make `alexnet_6`, encoded from the flatten on: tasks share early features."""
    late = [each._replace(encode=False) for each in ALEXNET_6]
    return _network("alexnet-6-late", input_shape, classes, seed, late, (2048, 2048))


def alexnet_7(input_shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    """Make the AlexNet-7 of the paper's RGO: 2048 and 2048 hidden; see `lenet_5`."""
    return _network("alexnet-7", input_shape, classes, seed, ALEXNET_7, (2048, 2048))


def alexnet_7_small(input_shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    """Make the AlexNet-7 of the paper's STL: 1024 and 256 hidden; see `lenet_5`."""
    return _network(
        "alexnet-7-small", input_shape, classes, seed, ALEXNET_7, (1024, 256)
    )


def vgg_11(input_shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    """Make VGG-11: configuration A of Simonyan and Zisserman (2015), no hidden layers.

    The head takes the flattened features, 512 of an image of 32 x 32 and 2048 of one of
    84 x 84. Encoded after every convolution and after the flatten; else see `lenet_5`.
    """
    return _network("vgg-11", input_shape, classes, seed, _blocks(VGG_11), ())


def vgg_13(input_shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    """Make VGG-13, configuration B of Simonyan and Zisserman (2015); see `vgg_11`."""
    return _network("vgg-13", input_shape, classes, seed, _blocks(VGG_13), ())


def check_image(network: str, input_shape: tuple[int, ...], least: int) -> None:
    """Raise unless inputs are images of at least `least` pixels a side."""
    if len(input_shape) != 3 or min(input_shape[1:]) < least:
        raise ValueError(
            f"{network}: expected images (channels, height, width) of at least "
            f"{least} x {least} pixels, got inputs of shape {tuple(input_shape)}"
        )


def _blocks(channels: Sequence[Sequence[int]]) -> list[Convolution]:
    return [
        Convolution(3, width, pool=2 if place == len(block) else None)
        for block in channels
        for place, width in enumerate(block, 1)
    ]


def _network(
    name: str,
    input_shape: tuple[int, ...],
    classes: int,
    seed: int,
    convolutions: Sequence[Convolution],
    hidden: Sequence[int],
) -> nn.Module:
    check_image(name, input_shape, _least(convolutions))
    layers: list[nn.Module] = []
    channels = input_shape[0]
    for convolution in convolutions:
        layers += _convolved(channels, convolution)
        channels = convolution.channels
    layers.append(nn.Flatten())
    with torch.no_grad():
        features = nn.Sequential(*layers)(torch.zeros(1, *input_shape)).shape[1]
    layers.append(FeatureEncoding(features))
    for width in hidden:
        layers += [nn.Linear(features, width), nn.ReLU(), FeatureEncoding(width)]
        features = width
    network = nn.Sequential(*layers, nn.Linear(features, classes))
    draw_all(network, seed)
    return network


def _convolved(inputs: int, convolution: Convolution) -> list[nn.Module]:
    kernel, channels, pool, encode, bias = convolution
    # An even kernel has one more pixel after than before.
    before, after = (kernel - 1) // 2, kernel // 2
    layers: list[nn.Module] = []
    if before != after:
        layers.append(nn.ZeroPad2d((before, after, before, after)))
        before = 0
    layers.append(nn.Conv2d(inputs, channels, kernel, padding=before, bias=bias))
    layers.append(nn.ReLU())
    if pool is not None:
        layers.append(nn.MaxPool2d(pool, stride=2))
    if encode:
        layers.append(FeatureEncoding(channels, axis=-3))
    return layers


def _least(convolutions: Sequence[Convolution]) -> int:
    """Return the side of the smallest image that leaves something to flatten."""
    side = 1
    for convolution in reversed(convolutions):
        if convolution.pool is not None:
            side = 2 * (side - 1) + convolution.pool
    return side
