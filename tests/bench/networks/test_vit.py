import pytest
import torch
from torch import nn

from rgo_bench.networks import VisionTransformer
from rgo_torch import FeatureEncoder, FeatureEncoding
from rgo_torch.layout import row_layers


def linear(n: int, m: int) -> int:
    return n * m + m


# By hand: 48 pixels a patch, 64 places, six blocks, two parameters a normalised width.
BLOCK = (
    linear(192, 3 * 192) + linear(192, 192) + linear(192, 768) + linear(768, 192)
) + 4 * 192
PARAMETERS = linear(48, 192) + 64 * 192 + 6 * BLOCK + 2 * 192 + linear(192, 100)


def test_it_has_the_parameters_counted_by_hand() -> None:
    network = VisionTransformer((3, 32, 32), 100, 0)
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 100)


def test_rgo_finds_every_layer_of_it_called() -> None:
    network = VisionTransformer((3, 8, 8), 10, 0)
    layers = row_layers(network)
    kinds = (nn.Linear, nn.Conv2d)
    assert len(layers) == sum(isinstance(m, kinds) for m in network.modules())
    places = [m.width for m in network.modules() if isinstance(m, FeatureEncoding)]
    assert sorted(places) == [192, *[768] * 6]


def test_the_encoding_of_another_task_changes_the_function() -> None:
    network = VisionTransformer((3, 8, 8), 10, 0)
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    plain = network(x)
    FeatureEncoder(network).set_task(1)
    assert not torch.allclose(network(x), plain)


def test_images_smaller_than_a_patch_are_refused() -> None:
    with pytest.raises(ValueError, match=r"vit: expected images .* at least 4 x 4 pix"):
        VisionTransformer((3, 3, 8), 10, 0)
