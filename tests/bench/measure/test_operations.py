import pytest
import torch
from torch import nn

from rgo_bench.measure.operations import Operations, step_operations
from rgo_bench.networks import NETWORKS


def test_a_small_network_is_counted_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv2d(2, 3, 2, bias=False),  # 4 x 4 -> 3 x 3: n = 8, m = 3, r = 9 b
        nn.ReLU(),
        nn.Conv2d(3, 6, 3, groups=3),  # to one position: n = 9, m = 2, r = b, three
        nn.Flatten(),
        nn.Linear(6, 5),  # n = 6, m = 5, r = b
    )
    b = 4
    training = 2 * 9 * b * 8 * 3 + 3 * 3 * b * 9 * 2 + 3 * b * 6 * 5
    projection = 8 * 8 * 3 + (3 * 9 * 9 * 2 + 6 * 6) + (6 * 6 * b + 5 * 5)
    assert step_operations(network, torch.zeros(b, 2, 4, 4)) == Operations(
        training, projection
    )


def test_an_update_is_projected_whole() -> None:
    linear = nn.Linear(6, 5)
    few = torch.zeros(2, 6)
    assert step_operations(linear, few).projection == 6 * 6 * 2 + 5 * 5
    assert step_operations(linear, few, updates=True).projection == 6 * 6 * 5 + 5 * 5


def test_the_ratio_is_that_of_both_together_to_training() -> None:
    assert Operations(training=10, projection=5).ratio == pytest.approx(1.5)


def test_counting_leaves_the_network_as_it_is() -> None:
    network = NETWORKS["lenet-5"]((3, 32, 32), 10, 0)
    before = {name: p.clone() for name, p in network.named_parameters()}
    assert step_operations(network, torch.zeros(10, 3, 32, 32)).ratio > 1
    assert all(torch.equal(p, before[name]) for name, p in network.named_parameters())
    assert not any(module._forward_pre_hooks for module in network.modules())
