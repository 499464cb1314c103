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
    tiny_setting,
)
from torch import Tensor
from torch.nn import functional

from rgo_bench.methods.apd import APD, APDOptions
from rgo_bench.methods.apd_parts import Sparse, parted
from rgo_bench.methods.kept import tensor_bytes

SETTING = tiny_setting()
SPARSE = APDOptions(step_size=0.02, sparsity=0.01)


def test_a_sparse_tensor_comes_back_whole_and_keeps_what_is_not_zero() -> None:
    dense = torch.tensor([[0.0, 2.0, 0.0], [3.0, 0.0, 0.0]])
    sparse = Sparse.of(dense)
    assert torch.equal(sparse.dense(), dense)
    assert tensor_bytes(sparse) == 2 * (4 + 4)


def test_where_a_group_agrees_it_shares_the_middle() -> None:
    first, second = torch.tensor([1.0, 0.5, 0.0]), torch.tensor([1.2, 0.9, 0.0])
    own, shared = parted([first, second], 0.25)
    torch.testing.assert_close(shared, torch.tensor([1.1, 0.0, 0.0]))
    assert torch.equal(own[0], torch.tensor([0.0, 0.5, 0.0]))
    assert torch.equal(own[1], torch.tensor([0.0, 0.9, 0.0]))
    (alone,), nothing = parted([first], 0.25)
    assert torch.equal(alone, first)
    assert not nothing.any()


def test_the_soft_threshold_is_the_minimum() -> None:
    values = torch.tensor([-2.0, -0.1, 0.0, 0.3, 1.0]).double()
    grid = torch.linspace(-3, 3, 60001).double()[:, None]
    loss = 0.5 * grid.abs() + (grid - values) ** 2 / 2
    best = grid[loss.argmin(0), 0]
    torch.testing.assert_close(
        functional.softshrink(values, 0.5), best, rtol=0, atol=1.1e-4
    )


@pytest.mark.parametrize("masks", [(None,) * 3, SPLIT], ids=["whole", "split"])
def test_a_tasks_weights_are_rebuilt_from_its_parts_by_hand(
    masks: tuple[Tensor | None, ...],
) -> None:
    method = APD(tiny_setting(masks), SPARSE)
    learn(method, 0, 1)
    parts = method.parts
    sigma, v = parts.shared["0"].detach(), parts.masks[1]["0"].detach()
    tau = parts.own[1]["0"].dense()
    theta = torch.empty(HIDDEN, FEATURES)
    for unit in range(HIDDEN):
        for entry in range(FEATURES):
            opened = 1 / (1 + torch.exp(-v[unit]))
            theta[unit, entry] = sigma[unit, entry] * opened + tau[unit, entry]
    torch.testing.assert_close(parts.weights(1)["0"], theta)
    x = samples(1, method.setting)[0]
    hidden = torch.relu(x @ theta.T + parts.biases[1]["0"].detach())
    head, bias = (each.detach() for each in method.heads.heads[1])
    mask = masks[1]
    own = method.predict(x, 1)
    own = own if mask is None else own[:, mask]
    torch.testing.assert_close(own, hidden @ head.T + bias)


def test_earlier_weights_stay_but_for_what_the_threshold_drops() -> None:
    method = APD(SETTING, SPARSE)
    learn(method, 0)
    before, sigma = (
        method.parts.weights(0)["0"],
        method.parts.shared["0"].detach().clone(),
    )
    learn(method, 1, 2)
    assert (method.parts.shared["0"] - sigma).abs().max() > 0.01
    moved = (method.parts.weights(0)["0"] - before).abs().max()
    # What the optimum lacks, lambda_1 / lambda_2, and what is dropped of it, lambda_1,
    # for each of the two tasks since.
    assert moved < 2.01 * (0.01 + 0.01 / 100)
    for own in method.parts.own.values():
        assert own["0"].values.abs().min() > 0.01


def test_sigma_feels_the_drift_of_earlier_tasks() -> None:
    """As autograd has it for the loss minimised over earlier tau."""
    method = APD(SETTING, SPARSE)
    learn(method, 0)
    x, y = begin(method, 1)
    with torch.no_grad():
        method.parts.shared["0"] += 1e-4 * torch.randn(HIDDEN, FEATURES)
    sigma = method.parts.shared["0"]
    logits = method._logits(x, 1)
    loss = functional.cross_entropy(logits, y)
    lacking = method.ends[0]["0"] - method.parts.masked(0, "0")
    tau = functional.softshrink(lacking, 0.01 / 100)
    loss = loss + 0.01 * tau.abs().sum() + 50 * (lacking - tau).square().sum()
    (expected,) = torch.autograd.grad(loss, sigma)
    method.step(x, y)
    assert sigma.grad is not None
    torch.testing.assert_close(sigma.grad, expected, rtol=1e-3, atol=1e-5)


def test_tasks_are_clustered_and_their_weights_stay_within_the_gap() -> None:
    method = APD(SETTING, APDOptions(every=3, clusters=1, gap=0.5, step_size=0.02))
    learn(method, 0, 1)
    before = [method.parts.weights(t)["0"] for t in range(2)]
    learn(method, 2)
    (group,) = method.parts.groups["0"]
    assert sorted(group.tasks) == [0, 1, 2]
    assert len(group.shared.values)
    for task, old in enumerate(before):
        now = method.parts.weights(task)["0"]
        assert 0 < (now - old).abs().max() <= 0.25 + 1e-3
        own = method.parts.own[task]["0"].dense()
        assert not (own * group.shared.dense()).any()


def test_capacity_and_bytes_count_what_is_not_zero() -> None:
    method = APD(SETTING, SPARSE)
    learn(method, 0)
    base = FEATURES * HIDDEN + HIDDEN + 4 * HIDDEN + 4
    tau = len(method.parts.own[0]["0"].values)
    assert tau < FEATURES * HIDDEN
    assert method.capacity() == pytest.approx(100 * (base + HIDDEN + tau) / base)
    generator = method.generator.get_state().nbytes
    assert method.kept_bytes() == 4 * (base + HIDDEN) + 8 * tau + generator


@pytest.mark.parametrize("option", ["step_size", "sparsity", "drift", "decay", "gap"])
def test_options_that_must_be_positive(option: str) -> None:
    changes: dict[str, Any] = {option: 0.0}
    with pytest.raises(ValueError, match=f"option '{option}': expected a positive num"):
        APDOptions(**changes)


@pytest.mark.parametrize("option", ["every", "clusters"])
def test_options_that_count(option: str) -> None:
    changes: dict[str, Any] = {option: 0}
    with pytest.raises(ValueError, match=f"option '{option}': expected a positive int"):
        APDOptions(**changes)


def test_more_groups_than_tasks_to_cluster_are_refused() -> None:
    with pytest.raises(ValueError, match="expected at most the 1 tasks that are clus"):
        APDOptions(every=1)


def test_a_resumed_run_ends_with_the_same_parts() -> None:
    options = APDOptions(every=2, clusters=1)
    assert_resumes(APD(SETTING, options), APD(SETTING, options))
