"""Networks of convolutions and pooling, then fully connected layers.

Each says by `FeatureEncoding` modules where features are encoded. All convolutions have
stride 1, keep the size of the image and have no bias, as in the paper's runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

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


@dataclass(frozen=True)
class Chain:
    """Convolutions, hidden layers and the head; called, it makes such a network."""

    name: str
    convolutions: Sequence[Convolution]
    hidden: Sequence[int]

    def __call__(
        self, input_shape: tuple[int, ...], classes: int, seed: int
    ) -> nn.Module:
        """Make the network for images (channels, height, width).

        Encoded are channels where a convolution says so, the flattened features one by
        one, and the hidden layers. Biases are 0, weights drawn as by `draw_uniform`.
        """
        check_image(self.name, input_shape, _least(self.convolutions))
        layers: list[nn.Module] = []
        channels = input_shape[0]
        for convolution in self.convolutions:
            layers += _convolved(channels, convolution)
            channels = convolution.channels
        layers.append(nn.Flatten())
        with torch.no_grad():
            features = nn.Sequential(*layers)(torch.zeros(1, *input_shape)).shape[1]
        layers.append(FeatureEncoding(features))
        for width in self.hidden:
            layers += [nn.Linear(features, width), nn.ReLU(), FeatureEncoding(width)]
            features = width
        network = nn.Sequential(*layers, nn.Linear(features, classes))
        draw_all(network, seed)
        return network


def check_image(network: str, input_shape: tuple[int, ...], least: int) -> None:
    """Raise unless inputs are images of at least `least` pixels a side."""
    if len(input_shape) != 3 or min(input_shape[1:]) < least:
        raise ValueError(
            f"{network}: expected images (channels, height, width) of at least "
            f"{least} x {least} pixels, got inputs of shape {tuple(input_shape)}"
        )


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


def _late(convolutions: Sequence[Convolution]) -> list[Convolution]:
    """Return convolutions of which tasks share all: encoded from the flatten on."""
    return [each._replace(encode=False) for each in convolutions]


def _blocks(channels: Sequence[Sequence[int]]) -> list[Convolution]:
    return [
        Convolution(3, width, pool=2 if place == len(block) else None)
        for block in channels
        for place, width in enumerate(block, 1)
    ]


_CHAINS = (
    # The LeNet-5 and the AlexNet that the paper trains with RGO.
    Chain("lenet-5", LENET_5, (800, 500)),
    # That of its STL and SGD, which flattens 51,200 features of CIFAR's images: 17
    # times the weights.
    Chain(
        "lenet-5-unpooled", [each._replace(pool=None) for each in LENET_5], (800, 500)
    ),
    # To measure what biases of convolutions cost RGO.
    Chain("lenet-5-biased", [each._replace(bias=True) for each in LENET_5], (800, 500)),
    Chain("lenet-5-late", _late(LENET_5), (800, 500)),
    Chain("alexnet-6", ALEXNET_6, (2048, 2048)),
    Chain("alexnet-6-late", _late(ALEXNET_6), (2048, 2048)),
    # Of the paper's RGO, and of its STL.
    Chain("alexnet-7", ALEXNET_7, (2048, 2048)),
    Chain("alexnet-7-small", ALEXNET_7, (1024, 256)),
    # Configurations A and B of Simonyan and Zisserman (2015), without hidden layers:
    # the head takes 512 features of an image of 32 x 32, 2048 of one of 84 x 84.
    Chain("vgg-11", _blocks(VGG_11), ()),
    Chain("vgg-13", _blocks(VGG_13), ()),
)
CHAINS: Final[Mapping[str, Chain]] = {chain.name: chain for chain in _CHAINS}
