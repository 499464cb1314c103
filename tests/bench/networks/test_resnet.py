from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from rgo_bench.networks import resnet_18, resnet_18_bn
from rgo_bench.networks.resnet import CHANNELS, ResNet18
from rgo_torch import FeatureEncoder, FeatureEncoding


def three(inputs: int, outputs: int) -> int:
    return 9 * inputs * outputs


# By hand: the stem, four stages of two blocks, three shortcuts, the head.
WEIGHTS = (
    49 * 3 * 64
    + 4 * three(64, 64)
    + three(64, 128)
    + 3 * three(128, 128)
    + three(128, 256)
    + 3 * three(256, 256)
    + three(256, 512)
    + 3 * three(512, 512)
    + 64 * 128
    + 128 * 256
    + 256 * 512
    + 512 * 100
    + 100
)
# Two a channel: the stem, four convolutions a stage and the shortcuts.
NORMALIZATION = 2 * (64 + 4 * (64 + 128 + 256 + 512) + 128 + 256 + 512)


def test_it_has_the_parameters_counted_by_hand() -> None:
    plain, normalized = (
        make((3, 32, 32), 100, 0) for make in (resnet_18, resnet_18_bn)
    )
    assert sum(p.numel() for p in plain.parameters()) == WEIGHTS
    count = sum(p.numel() for p in normalized.parameters())
    assert count == WEIGHTS + NORMALIZATION


@pytest.mark.parametrize(("side", "last"), [(32, 4), (84, 11)])
def test_three_stages_halve_the_image(side: int, last: int) -> None:
    network = resnet_18((3, side, side), 100, 0)
    assert isinstance(network, ResNet18)
    x = torch.zeros(1, 3, side, side)
    for block in network.blocks:
        x = block(network.stem(x) if x.shape[1] == 3 else x)
    assert x.shape == (1, 512, last, last)
    assert network(torch.zeros(1, 3, side, side)).shape == (1, 100)


def test_features_are_encoded_where_the_paper_does() -> None:
    network = resnet_18((3, 8, 8), 10, 0)
    assert isinstance(network, ResNet18)
    seen: list[tuple[str, int]] = []

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[torch.Tensor], output: Any) -> None:
            seen.append((name, output.shape[1]))

        return hook

    kept = (nn.Conv2d, nn.Linear, FeatureEncoding)
    for name, module in network.named_modules():
        if isinstance(module, kept) and "shortcut" not in name:
            module.register_forward_hook(note(name.split(".")[-1]))
    network(torch.zeros(1, 3, 8, 8))
    block = ["conv1", "encoding1", "conv2", "encoding2"]
    expected = [("stem", 64), ("encoding", 64)]
    for place, width in enumerate(CHANNELS):
        stage = str(3 * place + 2)  # each stage's own encoding, after its two blocks
        expected += [(name, width) for name in (*block, *block, stage)]
    assert seen == [*expected, ("pooled_encoding", 512), ("head", 10)]


def test_under_an_encoding_a_block_adds_in_one_order() -> None:
    network = resnet_18((3, 8, 8), 10, 0)
    assert isinstance(network, ResNet18)
    FeatureEncoder(network, seed=0).set_task(1)
    block = network.blocks[0]
    x = torch.randn(2, 64, 8, 8, generator=torch.Generator().manual_seed(0))
    h = block.encoding1(functional.relu(block.conv1(x)))
    expected = functional.relu(block.encoding2(block.conv2(h)) + x)
    assert not block.encoding2.is_identity
    torch.testing.assert_close(block(x), expected)


def test_a_block_adds_its_input_or_its_shortcut() -> None:
    network = resnet_18((3, 8, 8), 10, 0)
    assert isinstance(network, ResNet18)
    x = torch.randn(2, 64, 8, 8, generator=torch.Generator().manual_seed(0))
    for place, around in ((0, lambda x: x), (3, network.blocks[3].shortcut)):
        block = network.blocks[place]
        h = block.conv2(functional.relu(block.conv1(x)))
        torch.testing.assert_close(block(x), functional.relu(h + around(x)))


def test_normalisation_follows_every_convolution_or_none() -> None:
    plain, normalized = (make((3, 8, 8), 10, 0) for make in (resnet_18, resnet_18_bn))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in plain.modules())
    count = sum(isinstance(m, nn.Conv2d) for m in normalized.modules())
    assert sum(isinstance(m, nn.BatchNorm2d) for m in normalized.modules()) == count


def test_with_normalisation_the_initial_weights_are_the_same() -> None:
    plain, normalized = (make((3, 8, 8), 10, 3) for make in (resnet_18, resnet_18_bn))
    other = normalized.state_dict()
    assert all(torch.equal(p, other[name]) for name, p in plain.state_dict().items())


def test_flat_inputs_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"resnet-18: expected images .* got .* \(64,\)"
    ):
        resnet_18((64,), 10, 0)
