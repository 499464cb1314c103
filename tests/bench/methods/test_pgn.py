from typing import Any

import pytest
import torch
from bench.small_settings import (
    FEATURES,
    HIDDEN,
    SPLIT,
    assert_resumes,
    begin,
    learn,
    samples,
    tiny_network,
    tiny_setting,
)
from torch import Tensor, nn

from rgo_bench.methods.growing import GrowingNetwork
from rgo_bench.methods.pgn import PGN, PGNOptions
from rgo_bench.runs.run import begin_run
from rgo_bench.runs.spec import make_spec

SETTING = tiny_setting()
HALF = PGNOptions(width=0.5)


@pytest.mark.parametrize("masks", [(None,) * 3, SPLIT], ids=["whole", "split"])
def test_old_columns_never_change(masks: tuple[Tensor | None, ...]) -> None:
    method = PGN(tiny_setting(masks), HALF)
    learn(method, 0)
    weight = method.network.weights["0"].detach().clone()
    x, _ = samples(0, method.setting)
    before = method.predict(x, 0)
    learn(method, 1, 2)
    assert torch.equal(method.predict(x, 0), before)
    assert torch.equal(method.network.weights["0"][:HIDDEN], weight)


def test_a_later_column_sees_all_columns_below_and_is_computed_by_hand() -> None:
    method = PGN(SETTING, HALF)
    learn(method, 0, 1)
    x, _ = samples(1, SETTING)
    network = method.network
    W, b = network.weights["0"], network.biases["0"]
    assert W.shape == (HIDDEN + HIDDEN // 2, FEATURES)
    head, bias = network.heads.heads[1]
    units = network.stamps[1][0]
    W, b, head, bias = (each.detach() for each in (W, b, head, bias))
    rows = [
        [
            sum(float(torch.relu(W[u] @ one + b[u]) * head[c, u]) for u in range(units))
            + float(bias[c])
            for c in range(4)
        ]
        for one in x[:3]
    ]
    torch.testing.assert_close(method.predict(x[:3], 1), torch.tensor(rows))


def test_lateral_connections_of_a_deeper_chain_are_trained_and_old_ones_are_not() -> (
    None
):
    def deep(seed: int) -> nn.Module:
        layers = [*tiny_network(seed)[:2], nn.Linear(HIDDEN, 4), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(4, 4))

    torch.manual_seed(0)
    method = PGN(SETTING._replace(make_network=deep), HALF)
    learn(method, 0)
    x, y = begin(method, 1)
    before = method.network.weights["2"].detach().clone()
    method.step(x, y)
    after = method.network.weights["2"].detach()
    width, below = 4, HIDDEN + HIDDEN // 2
    old, lateral = slice(0, width), slice(width, width + 2)
    assert torch.equal(after[old, :below], before[old, :below])
    # No unit of the first column is fed by a later column.
    assert not after[old, HIDDEN:].any()
    assert (after[lateral, :HIDDEN] != before[lateral, :HIDDEN]).any()


def test_channels_of_a_convolution_grow_with_the_positions_that_are_flattened() -> None:
    def convolutional(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 4, 2, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(16, 4)
        )

    network = GrowingNetwork(SETTING._replace(make_network=convolutional))
    network.add_head(0)
    x = torch.randn(2, 1, 3, 3)
    first = network.logits(x, 0)
    network.grow([2])
    network.add_head(1)
    assert network.weights["0"].shape == (6, 1, 2, 2)
    assert network.heads.heads[1][0].shape == (4, 24)
    assert torch.equal(network.logits(x, 0), first)
    features = torch.relu(nn.functional.conv2d(x, network.weights["0"])).flatten(1)
    weight, bias = network.heads.heads[1]
    torch.testing.assert_close(network.logits(x, 1), features @ weight.T + bias)


def test_capacity_and_bytes_count_all_columns_and_heads() -> None:
    method = PGN(SETTING, HALF)
    base = FEATURES * HIDDEN + HIDDEN + 4 * HIDDEN + 4
    learn(method, 0)
    assert method.capacity() == pytest.approx(100)
    learn(method, 1)
    column = 4 * (FEATURES + 1) + 4 * (HIDDEN + 4) + 4
    assert method.capacity() == pytest.approx(100 * (base + column) / base)
    generator = method.network.generator.get_state().nbytes
    assert method.kept_bytes() == 4 * (base + column) + generator


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Conv2d(2, 4, 2, groups=2)),
        nn.Linear(2, 2),
        nn.Sequential(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), nn.Linear(3, 2)),
    ],
    ids=["groups", "no chain", "one inside of another"],
)
def test_what_is_no_chain_is_refused(network: nn.Module) -> None:
    setting = SETTING._replace(make_network=lambda seed: network)
    with pytest.raises(ValueError, match="expected a chain of layers without groups"):
        PGN(setting, PGNOptions())


def test_a_width_below_zero_is_refused() -> None:
    changes: dict[str, Any] = {"width": 0.0}
    with pytest.raises(ValueError, match="option 'width': expected a positive number"):
        PGNOptions(**changes)


def test_a_resumed_run_ends_with_the_same_weights() -> None:
    assert_resumes(PGN(SETTING, HALF), PGN(SETTING, HALF))


def test_capacity_has_no_zeros_that_lead_back_to_earlier_columns() -> None:
    spec = make_spec("permuted-digits", "pgn", 0, {"tasks": 2, "width": 0.25})
    method = begin_run(spec).method
    method.begin_task(0)
    method.begin_task(1)
    first, second = method.network.first
    more, most = first // 4, second // 4
    base = 64 * first + first + first * second + second + 10 * second + 10
    assert method.network.size == base
    column = more * (64 + 1) + most * (first + more + 1) + 10 * (second + most + 1)
    assert method.capacity() == pytest.approx(100 * (base + column) / base)
