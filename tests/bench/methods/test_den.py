from typing import Any

import pytest
import torch
from bench.small_settings import (
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
from torch.nn import functional

from rgo_bench.clock import Clock
from rgo_bench.methods.den import (
    DEN,
    DENOptions,
    drop_empty,
    split_drifted,
)
from rgo_bench.methods.growing import GrowingNetwork
from rgo_bench.methods.reach import Reach, reached
from rgo_bench.methods.shrinking import pull_back, shrink, shrink_groups

SETTING = tiny_setting()


def deep(seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    network = nn.Sequential(
        *tiny_network(seed)[:2], nn.Linear(HIDDEN, 4), nn.ReLU(), nn.Linear(4, 4)
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(-1, 1, generator=generator)
    return network


def grown(units: int = 2) -> GrowingNetwork:
    """A deep network of two tasks, with new units for the second."""
    network = GrowingNetwork(SETTING._replace(make_network=deep))
    network.add_head(0)
    network.grow([units, units])
    network.add_head(1)
    return network


@pytest.mark.parametrize("masks", [(None,) * 3, SPLIT], ids=["whole", "split"])
def test_new_units_do_not_reach_earlier_tasks(masks: tuple[Tensor | None, ...]) -> None:
    """Under timestamped inference: what old weights lose is penalised, not frozen."""
    method = DEN(tiny_setting(masks), DENOptions(units=2))
    learn(method, 0)
    x, _ = samples(0, method.setting)
    learn(method, 1)
    before = method.predict(x, 0)
    network = method.network
    assert network.widths[0] > HIDDEN
    with torch.no_grad():
        network.weights["0"][HIDDEN:] += 1
        network.biases["0"][HIDDEN:] += 1
    assert torch.equal(method.predict(x, 0), before)


def test_no_unit_is_added_where_the_loss_is_low() -> None:
    method = DEN(SETTING, DENOptions(loss=100.0))
    learn(method, 0, 1)
    assert method.network.widths == [HIDDEN]
    assert method.capacity() > 100  # the second head


@pytest.mark.parametrize("loss", [100.0, 1e-9], ids=["retrained", "expanded"])
def test_a_strong_drift_penalty_keeps_old_units_and_a_weak_one_lets_them_move(
    loss: float,
) -> None:
    moved = []
    for drift in (1e-6, 1e6):
        options = DENOptions(loss=loss, drift=drift, step_size=0.01, split=100.0)
        method = DEN(SETTING, options)
        learn(method, 0)
        before = method.network.weights["0"].detach().clone()
        learn(method, 1)
        now = method.network.weights["0"].detach()[:HIDDEN]
        moved.append(float((now - before).abs().mean()))
    assert moved[1] < moved[0] / 2


def test_what_reaches_the_head_is_found_by_hand() -> None:
    network = grown(0)
    with torch.no_grad():
        head, _ = network.heads.heads[1]
        head.zero_()
        head[2, 1] = 1.0
        network.weights["2"].zero_()
        network.weights["2"][1, 3] = 1.0
        network.weights["2"][2, 5] = 1.0
    first, second = reached(network, 1)
    assert first.tolist() == [3]
    assert second.tolist() == [1]


def test_what_reaches_the_head_is_a_network_with_its_logits() -> None:
    network = grown(2)
    with torch.no_grad():
        network.heads.heads[1][0][:, 2] = 0
        network.weights["2"][:, [1, 4]] = 0
        network.weights["2"][2, 1] = 1.0  # to a unit that the head does not see
    reach = Reach(network, 1)
    kept = [u for u in range(HIDDEN + 2) if u not in (1, 4)]
    assert [units.tolist() for units in reach.units] == [kept, [0, 1, 3, 4, 5]]
    x = torch.randn(5, 6)
    torch.testing.assert_close(reach.logits(x), network.logits(x, 1))
    before = {n: w.detach().clone() for n, w in network.weights.items()}
    loss = functional.cross_entropy(reach.logits(x), torch.arange(5) % 4)
    loss.backward()
    whole = functional.cross_entropy(network.logits(x, 1), torch.arange(5) % 4)
    whole.backward()
    for name, weight in network.weights.items():
        assert weight.grad is not None
        expected = reach.of_layer(name, weight.grad)
        assert reach.weights[name].grad is not None
        torch.testing.assert_close(reach.weights[name].grad, expected)
    with torch.no_grad():
        for parameter in reach.parameters():
            parameter += 1
    changed = reach.logits(x)
    reach.write()
    torch.testing.assert_close(network.logits(x, 1), changed)
    first = network.weights["0"].detach()
    assert torch.equal(first[[1, 4]], before["0"][[1, 4]])
    assert torch.equal(first[kept], before["0"][kept] + 1)
    second = network.weights["2"].detach()
    assert torch.equal(second[2], before["2"][2])
    assert torch.equal(second[:, [1, 4]], before["2"][:, [1, 4]])


def test_the_drift_pulls_on_what_was_there_alone() -> None:
    weight, still = (
        nn.Parameter(torch.full((3, 4), 2.0)),
        nn.Parameter(torch.ones(2, 2)),
    )
    weight.grad = torch.ones(3, 4)
    pull_back([(weight, torch.ones(2, 3)), (still, torch.zeros(2, 2))], 0.25)
    expected = torch.ones(3, 4)
    expected[:2, :3] = 1.25
    assert torch.equal(weight.grad, expected)
    assert still.grad is None


def test_shrinking_ends_at_zero() -> None:
    parameter = nn.Parameter(torch.tensor([0.5, -0.05, -1.0, 0.02]))
    shrink([parameter], 0.1)
    torch.testing.assert_close(parameter.detach(), torch.tensor([0.4, 0, -0.9, 0]))


def test_new_units_shrink_as_vectors_and_empty_ones_are_dropped() -> None:
    network = grown(2)
    with torch.no_grad():
        network.weights["0"][HIDDEN:] = 0
        network.weights["0"][HIDDEN, 0] = 3.0
        network.weights["0"][HIDDEN + 1, :2] = torch.tensor([0.3, 0.4])
    network.weights["0"].requires_grad_(False)
    shrink_groups([network.weights["0"][HIDDEN:]], 0.5)
    rows = network.weights["0"][HIDDEN:]
    assert float(rows[0, 0]) == pytest.approx(2.5)
    assert not rows[1].any()
    x = torch.randn(3, 6)
    with torch.no_grad():
        network.biases["0"][HIDDEN + 1] = -1.0
    before = network.logits(x, 1)
    drop_empty(network, [HIDDEN, 4], 1)
    assert network.widths == [HIDDEN + 1, 6]
    torch.testing.assert_close(network.logits(x, 1), before)


def test_units_that_moved_are_put_back_and_copied() -> None:
    network = grown(0)
    names = network.names
    before: dict[str, Tensor] = {n: network.weights[n].detach().clone() for n in names}
    before |= {f"{n}.bias": network.biases[n].detach().clone() for n in names}
    with torch.no_grad():
        network.weights["0"][3] += 1.0
        network.weights["0"][5] += 0.001
        network.biases["0"][3] += 1.0
        network.weights["2"][2] += 2.0
    moved = {n: network.weights[n].detach().clone() for n in names}
    head = network.heads.heads[1][0].detach().clone()
    split_drifted(network, before, threshold=0.5, most=10, task=1)
    assert network.widths == [HIDDEN + 1, 5]
    first, second = (network.weights[name].detach() for name in names)
    assert first.shape == (HIDDEN + 1, 6)
    assert torch.equal(first[3], before["0"][3])
    assert torch.equal(first[HIDDEN], moved["0"][3])
    assert torch.equal(first[5], moved["0"][5])
    bias = network.biases["0"].detach()
    assert torch.equal(bias[HIDDEN], before["0.bias"][3] + 1)
    assert torch.equal(bias[:HIDDEN], before["0.bias"])
    assert second.shape == (5, HIDDEN + 1)
    assert torch.equal(second[2, :HIDDEN], before["2"][2])
    assert torch.equal(second[4, :HIDDEN][[0, 5]], moved["2"][2][[0, 5]])
    assert float(second[0, HIDDEN]) == float(moved["2"][0, 3])
    new = network.heads.heads[1][0].detach()
    assert torch.equal(new[:, 4], head[:, 2])
    assert not new[:, 2].any()


def test_capacity_and_bytes_count_all_units_and_heads() -> None:
    method = DEN(SETTING, DENOptions(units=2))
    learn(method, 0, 1)
    (units,) = method.network.widths
    assert units > HIDDEN
    base = HIDDEN * 7 + 4 * (HIDDEN + 1)
    size = units * 7 + 4 * (HIDDEN + 1) + 4 * (units + 1)
    assert method.capacity() == pytest.approx(100 * size / base)
    generator = method.network.generator.get_state().nbytes
    assert method.kept_bytes() == 4 * size + generator


def convolutional(options: DENOptions) -> tuple[DEN, Tensor]:
    """A network of a convolution after two tasks, and their samples."""

    def make_network(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 3, 2, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4)
        )

    method = DEN(SETTING._replace(make_network=make_network), options)
    x, y = torch.randn(20, 1, 3, 3), torch.arange(20) % 4
    for task in range(2):
        method.begin_task(task)
        for batch in zip(x.split(5), y.split(5), strict=True):
            method.step(*batch)
        method.end_task(x, y, Clock(SETTING.device))
    return method, x


def test_convolutions_are_retrained_split_and_expanded() -> None:
    method, x = convolutional(DENOptions(units=1, split=1e-4, step_size=0.01))
    assert method.network.widths == [5]
    assert method.predict(x, 1).isfinite().all()


def test_of_a_head_that_sees_nothing_nothing_is_retrained() -> None:
    method, x = convolutional(DENOptions(units=1, sparsity=10.0))
    assert not any(weight.any() for weight in method.network.weights.values())
    assert not method.predict(x, 1).any()


@pytest.mark.parametrize("option", ["step_size", "drift", "units", "split"])
def test_options_without_meaning_are_refused(option: str) -> None:
    changes: dict[str, Any] = {option: 0}
    with pytest.raises(ValueError, match=f"option '{option}': expected a positive"):
        DENOptions(**changes)


def test_a_resumed_run_ends_with_the_same_weights() -> None:
    options = DENOptions(units=2)
    assert_resumes(DEN(SETTING, options), DEN(SETTING, options))


def test_steps_of_later_tasks_are_taken_when_they_end() -> None:
    method = DEN(SETTING, DENOptions(units=2))
    learn(method, 0)
    x, y = begin(method, 1)
    before = method.network.weights["0"].detach().clone()
    method.step(x[:5], y[:5])
    assert torch.equal(method.network.weights["0"], before)
    assert method.steps == 1
