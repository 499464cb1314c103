"""The convolutional networks have the shapes of the paper."""

import itertools

import pytest
import torch
from torch import nn

from rgo_bench.networks import NETWORKS
from rgo_torch import FeatureEncoding

CIFAR, MINI = (3, 32, 32), (3, 84, 84)


def convolution(kernel: int, inputs: int, outputs: int) -> int:
    return kernel * kernel * inputs * outputs


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
# By hand: windows of 3 take 32 to 15 and 7; 32 halves to 16, 8, 4; 84 to 42, 21, 10, 5;
# five halvings leave 1 of 32 and 2 of 84.
PARAMETERS = [
    ("lenet-5", CIFAR, LENET_5 + linear(7 * 7 * 50, 800, 500, 100)),
    ("lenet-5-unpooled", CIFAR, LENET_5 + linear(32 * 32 * 50, 800, 500, 100)),
    ("lenet-5-biased", CIFAR, LENET_5 + 20 + 50 + linear(7 * 7 * 50, 800, 500, 100)),
    ("lenet-5-late", CIFAR, LENET_5 + linear(7 * 7 * 50, 800, 500, 100)),
    ("alexnet-6", CIFAR, ALEXNET_6 + linear(4 * 4 * 256, 2048, 2048, 100)),
    ("alexnet-6-late", CIFAR, ALEXNET_6 + linear(4 * 4 * 256, 2048, 2048, 100)),
    ("alexnet-7", MINI, ALEXNET_7 + linear(5 * 5 * 128, 2048, 2048, 100)),
    ("alexnet-7-small", MINI, ALEXNET_7 + linear(5 * 5 * 128, 1024, 256, 100)),
    ("vgg-11", CIFAR, VGG_11 + linear(512, 100)),
    ("vgg-11", MINI, VGG_11 + linear(4 * 512, 100)),
    ("vgg-13", CIFAR, VGG_13 + linear(512, 100)),
    ("vgg-13", MINI, VGG_13 + linear(4 * 512, 100)),
]
# The widths that are encoded, in order: of channels, and of flat features.
FLAT = [2048, 2048]
PLACES = {
    ("lenet-5", CIFAR): ([20], [2450, 800, 500]),
    ("lenet-5-unpooled", CIFAR): ([20], [51200, 800, 500]),
    ("lenet-5-late", CIFAR): ([], [2450, 800, 500]),
    ("alexnet-6", CIFAR): ([64, 128], [4096, *FLAT]),
    ("alexnet-6-late", CIFAR): ([], [4096, *FLAT]),
    ("alexnet-7", MINI): ([64, 128, 128], [3200, *FLAT]),
    ("alexnet-7-small", MINI): ([64, 128, 128], [3200, 1024, 256]),
    ("vgg-11", CIFAR): ([64, 128, 256, 256, 512, 512, 512, 512], [512]),
    ("vgg-13", MINI): ([64, 64, 128, 128, 256, 256, 512, 512, 512, 512], [2048]),
}


@pytest.mark.parametrize(("name", "shape", "expected"), PARAMETERS)
def test_a_network_has_the_parameters_counted_by_hand(
    name: str, shape: tuple[int, ...], expected: int
) -> None:
    network = NETWORKS[name](shape, 100, 0)
    assert sum(p.numel() for p in network.parameters()) == expected
    assert network(torch.zeros(2, *shape)).shape == (2, 100)


@pytest.mark.parametrize(("name", "shape"), PLACES)
def test_features_are_encoded_where_the_paper_does(
    name: str, shape: tuple[int, ...]
) -> None:
    channels, flat = PLACES[name, shape]
    found = [m for m in NETWORKS[name](shape, 100, 0) if isinstance(m, FeatureEncoding)]
    assert [m.width for m in found] == channels + flat
    assert [m.axis for m in found] == [-3] * len(channels) + [-1] * len(flat)


@pytest.mark.parametrize("name", ["lenet-5", "alexnet-6", "vgg-11"])
def test_convolutions_have_no_bias_and_keep_the_size_of_the_image(name: str) -> None:
    network = NETWORKS[name](CIFAR, 100, 0)
    sizes: list[int] = []
    x = torch.zeros(1, *CIFAR)
    for layer in network:
        before, x = x, layer(x)
        if isinstance(layer, nn.Conv2d | nn.ZeroPad2d):
            sizes += [before.shape[-1], x.shape[-1]]
        if isinstance(layer, nn.Conv2d):
            assert layer.bias is None
            assert sizes[0] == sizes[-1]
            sizes.clear()


def test_an_even_kernel_has_one_more_pixel_after_than_before() -> None:
    padding, convolution, *_ = NETWORKS["alexnet-6"](CIFAR, 100, 0)
    x = torch.randn(1, *CIFAR, generator=torch.Generator().manual_seed(0))
    found = convolution(padding(x))[0, :, 0, 0]
    # The window at the first pixel begins one before it.
    seen = x[0, :, :3, :3] * convolution.weight[:, :, 1:, 1:]
    torch.testing.assert_close(found, seen.sum((1, 2, 3)))


def test_every_layer_is_followed_by_relu_and_the_head_by_nothing() -> None:
    layers = list(NETWORKS["alexnet-6"](CIFAR, 100, 0))
    for layer, following in itertools.pairwise(layers):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert isinstance(following, nn.ReLU)
    assert isinstance(layers[-1], nn.Linear)
    assert sum(isinstance(layer, nn.MaxPool2d) for layer in layers) == 3


@pytest.mark.parametrize(("name", "least"), [("lenet-5", 7), ("alexnet-6", 8)])
def test_the_smallest_image_is_taken_and_smaller_ones_are_refused(
    name: str, least: int
) -> None:
    x = torch.zeros(1, 1, least, least)
    assert NETWORKS[name](tuple(x.shape[1:]), 10, 0)(x).isfinite().all()
    for shape in ((64,), (1, least - 1, least)):
        with pytest.raises(
            ValueError,
            match=rf"{name}: .* {least} x {least} pixels, got inputs of shape",
        ):
            NETWORKS[name](shape, 10, 0)
