from typing import Any

import pytest
import torch
from bench.small_settings import (
    FEATURES,
    HIDDEN,
    assert_resumes,
    begin,
    learn,
    samples,
    tiny_setting,
    weights,
)
from torch import nn

from rgo_bench.methods.los import LOS, LOSOptions, subspaces

SETTING = tiny_setting()
CPU = torch.device("cpu")


def test_the_subspaces_are_orthogonal_projections_and_to_one_another() -> None:
    projections = [torch.diag(row) for row in subspaces(256, 20, None, CPU)]
    for i, first in enumerate(projections):
        for j, second in enumerate(projections):
            product = first @ second
            expected = first if i == j else torch.zeros_like(first)
            torch.testing.assert_close(product, expected, rtol=0, atol=0)


def test_every_subspace_has_the_rank_that_there_is_for_each() -> None:
    assert subspaces(256, 20, None, CPU).sum(1).tolist() == [12.0] * 20
    assert subspaces(512, 20, None, CPU).sum(1).tolist() == [25.0] * 20
    assert subspaces(256, 20, 5, CPU).sum(1).tolist() == [5.0] * 20


@pytest.mark.parametrize("rank", [0, 13, "12"])
def test_a_rank_that_does_not_fit_is_refused(rank: Any) -> None:
    message = f"rank: expected between 1 and 256 .* 20 tasks = 12, got {rank!r}"
    with pytest.raises(ValueError, match=message):
        subspaces(256, 20, rank, CPU)


@pytest.mark.parametrize("task", range(3))
def test_logits_are_those_of_the_pre_activation_projected(task: int) -> None:
    method = LOS(SETTING, LOSOptions(rank=2))
    learn(method, 0, 1)
    first, last = method.network[0], method.network[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    x, _ = samples(task, SETTING)
    hidden = x @ first.weight.T + first.bias
    projection = torch.zeros(HIDDEN, HIDDEN)
    for i in range(2 * task, 2 * task + 2):
        projection[i, i] = 1.0
    hidden = (hidden @ projection).relu()
    expected = hidden @ last.weight.T + last.bias
    torch.testing.assert_close(method.predict(x, task), expected)


def test_a_task_trains_nothing_that_feeds_or_reads_another_subspace() -> None:
    method = LOS(SETTING, LOSOptions(rank=2))
    learn(method, 0)
    before = weights(method)
    learn(method, 1)
    after = weights(method)
    own = torch.zeros(HIDDEN, dtype=torch.bool)
    own[2:4] = True
    for name in ("0.weight", "0.bias"):
        assert torch.equal(after[name][~own], before[name][~own])
        assert not torch.equal(after[name][own], before[name][own])
    assert torch.equal(after["2.weight"][:, ~own], before["2.weight"][:, ~own])
    assert not torch.equal(after["2.weight"][:, own], before["2.weight"][:, own])


def test_a_look_at_an_earlier_task_does_not_change_the_training() -> None:
    looked, plain = (LOS(SETTING, LOSOptions()) for _ in range(2))
    for method in (looked, plain):
        learn(method, 0)
        x, y = begin(method, 1)
        if method is looked:
            method.predict(torch.zeros(1, FEATURES), 0)
        method.step(x[:5], y[:5])
    expected = weights(plain)
    for name, weight in weights(looked).items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=0)


def test_a_resumed_run_ends_with_the_same_weights() -> None:
    assert_resumes(LOS(SETTING, LOSOptions()), LOS(SETTING, LOSOptions()))
