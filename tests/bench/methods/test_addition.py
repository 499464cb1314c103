"""What a growing network gained is trained as it would be in the whole network."""

from collections.abc import Sequence

import pytest
import torch
from bench.small_settings import CLASSES, tiny_setting
from torch import Tensor, nn
from torch.nn import functional

from rgo_bench.methods.addition import Addition
from rgo_bench.methods.growing import GrowingNetwork
from rgo_bench.methods.passes import train


def linear(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        *(nn.Linear(6, 8), nn.ReLU()),
        *(nn.Linear(8, 5, bias=False), nn.Tanh(), nn.Linear(5, CLASSES)),
    )


def convolutional(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        *(nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, CLASSES)),
    )


NETWORKS = {"linear": (linear, (6,)), "convolutional": (convolutional, (1, 8, 8))}
CASES = [
    pytest.param(name, added, id=f"{name}-{added}")
    for name, draws in (
        ("linear", [(2, 3), (0, 2), (2, 0), (0, 0)]),
        ("convolutional", [(2, 1, 3), (0, 2, 1), (2, 0, 1), (1, 2, 0)]),
    )
    for added in draws
]


def grown(
    name: str, added: Sequence[int]
) -> tuple[GrowingNetwork, list[int], Tensor, Tensor]:
    """A network that has grown, no part of it zero, its widths before, and samples."""
    make, shape = NETWORKS[name]
    network = GrowingNetwork(tiny_setting()._replace(make_network=make))
    network.add_head(0)
    widths = network.widths
    network.grow(added)
    network.add_head(1)
    with torch.no_grad():
        for parameter in network.parameters(1):
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network, widths, torch.randn(7, *shape), torch.arange(7) % CLASSES


def whole_gradients(
    network: GrowingNetwork, widths: Sequence[int], x: Tensor, y: Tensor
) -> list[Tensor]:
    """The gradients of what is new, cut out of those of all."""
    functional.cross_entropy(network.logits(x, 1), y).backward()
    rows, across, biases = [], [], []
    layers = zip(network.names, widths, network.columns(widths), strict=True)
    for name, units, columns in layers:
        gradient = network.weights[name].grad
        assert gradient is not None
        rows.append(gradient[units:])
        if columns is not None:
            across.append(gradient[:units, columns:])
        if name in network.biases:
            bias = network.biases[name].grad
            assert bias is not None
            biases.append(bias[units:])
    head = [p.grad for p in network.heads.heads[1] if p.grad is not None]
    return [g for g in (*rows, *across, *biases) if g.numel()] + head


@pytest.mark.parametrize(("name", "added"), CASES)
def test_logits_and_gradients_are_those_of_the_whole_network(
    name: str, added: Sequence[int]
) -> None:
    network, widths, x, y = grown(name, added)
    new = Addition(network, widths, 1)
    found = new.logits(*new.fixed(x))
    torch.testing.assert_close(found, network.logits(x, 1))
    gradients = torch.autograd.grad(
        functional.cross_entropy(found, y), new.parameters()
    )
    expected = whole_gradients(network, widths, x, y)
    assert len(gradients) == len(expected)
    for one, other in zip(gradients, expected, strict=True):
        assert one.any()
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("name", "added"), CASES)
def test_what_is_written_back_is_what_was_trained_and_nothing_else(
    name: str, added: Sequence[int]
) -> None:
    network, widths, x, y = grown(name, added)
    earlier, before = network.logits(x, 0), network.logits(x, 1)
    new = Addition(network, widths, 1)
    train(
        new.logits,
        [(*new.fixed(x), y)] * 5,
        torch.optim.Adam(new.parameters(), lr=0.01),
    )
    trained = new.logits(*new.fixed(x))
    assert not torch.allclose(trained, before)
    new.write()
    torch.testing.assert_close(network.logits(x, 1), trained)
    assert torch.equal(network.logits(x, 0), earlier)
