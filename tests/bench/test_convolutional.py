"""The convolutional networks have the shapes of the paper."""

import itertools

import pytest
import torch
from torch import nn

from rgo_bench.networks import NETWORKS

CIFAR, MINI = (3, 32, 32), (3, 84, 84)


def convolution(kernel: int, inputs: int, outputs: int, *, bias: bool = True) -> int:
    return kernel * kernel * inputs * outputs + bias * outputs


def linear(*widths: int) -> int:
    pairs = itertools.pairwise(widths)
    return sum(n * m + m for n, m in pairs)


def vgg(*channels: int) -> int:
    pairs = zip((3, *channels), channels, strict=False)
    return sum(convolution(3, n, m) for n, m in pairs)


LENET_5 = convolution(5, 3, 20) + convolution(5, 20, 50)
ALEXNET_6 = convolution(4, 3, 64) + convolution(3, 64, 128) + convolution(2, 128, 256)
ALEXNET_7 = (
    convolution(5, 3, 64)
    + convolution(4, 64, 128)
    + convolution(3, 128, 128)
    + convolution(3, 128, 128)
)
VGG_11 = vgg(64, 128, 256, 256, 512, 512, 512, 512)
VGG_13 = vgg(64, 64, 128, 128, 256, 256, 512, 512, 512, 512)
# By hand: 32 halves to 16 and 8; 32 -> 29, 14 -> 12, 6 -> 5, 2; 84 -> 80, 40 -> 37, 18
# -> 16, 8 -> 6, 3; five halvings leave 1 of 32 and 2 of 84.
PARAMETERS = [
    ("lenet-5", CIFAR, LENET_5 + linear(8 * 8 * 50, 800, 500, 100)),
    ("alexnet-6", CIFAR, ALEXNET_6 + linear(2 * 2 * 256, 2048, 2048, 100)),
    ("alexnet-7", MINI, ALEXNET_7 + linear(3 * 3 * 128, 2048, 2048, 100)),
    ("vgg-11", CIFAR, VGG_11 + linear(512, 4096, 4096, 100)),
    ("vgg-11", MINI, VGG_11 + linear(4 * 512, 4096, 4096, 100)),
    ("vgg-13", MINI, VGG_13 + linear(4 * 512, 4096, 4096, 100)),
]


@pytest.mark.parametrize(("name", "shape", "expected"), PARAMETERS)
def test_a_network_has_the_parameters_counted_by_hand(
    name: str, shape: tuple[int, ...], expected: int
) -> None:
    network = NETWORKS[name](shape, 100, 0)
    assert sum(p.numel() for p in network.parameters()) == expected
    assert network(torch.zeros(2, *shape)).shape == (2, 100)


def test_every_convolution_is_followed_by_relu_and_the_head_by_nothing() -> None:
    layers = list(NETWORKS["alexnet-6"](CIFAR, 100, 0))
    for layer, following in itertools.pairwise(layers):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert isinstance(following, nn.ReLU)
    assert isinstance(layers[-1], nn.Linear)
    assert sum(isinstance(layer, nn.MaxPool2d) for layer in layers) == 3


@pytest.mark.parametrize("shape", [(64,), (3, 8, 8)])
def test_inputs_too_small_for_the_poolings_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"of at least 19 x 19 pixels, got .* shape"):
        NETWORKS["alexnet-6"](shape, 10, 0)


def test_the_smallest_image_is_taken() -> None:
    assert (
        NETWORKS["alexnet-6"]((1, 19, 19), 10, 0)(torch.zeros(1, 1, 19, 19))
        .isfinite()
        .all()
    )
    with pytest.raises(ValueError, match="19 x 19"):
        NETWORKS["alexnet-6"]((1, 18, 19), 10, 0)
