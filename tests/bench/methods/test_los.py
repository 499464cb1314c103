import copy
from typing import Any

import pytest
import torch
from bench.small_settings import (
    BATCH,
    FEATURES,
    HIDDEN,
    SPLIT,
    assert_resumes,
    begin,
    learn,
    samples,
    tiny_setting,
    weights,
)
from torch import Tensor, nn
from torch.nn import functional

from rgo_bench.methods.los import LOS, LOSOptions, subspaces
from rgo_bench.methods.stiefel import cayley_step

SETTING = tiny_setting()
CONVOLUTIONAL = LOSOptions(per_class=1, manifold="stiefel")
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


def seen_loss(
    network: nn.Module, x: Tensor, y: Tensor, diagonal: Tensor, mask: Tensor | None
) -> Tensor:
    """The loss of a network whose hidden layer is multiplied by a diagonal."""
    first, activation, last = network.children()
    logits = last(activation(first(x)) * diagonal)
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf)
    return functional.cross_entropy(logits, y)


def test_without_memory_and_manifold_it_is_sgd_in_the_subspace_bit_for_bit() -> None:
    method = LOS(SETTING, LOSOptions())
    network = SETTING.make_network(SETTING.seed)
    optimizer = torch.optim.SGD(network.parameters(), lr=SETTING.lr)
    learn(method, 0, 1, 2)
    for task in range(3):
        x, y = samples(task, SETTING)
        diagonal = subspaces(HIDDEN, 3, None, CPU)[task]
        for batch in zip(x.split(BATCH), y.split(BATCH), strict=True):
            optimizer.zero_grad()
            seen_loss(network, *batch, diagonal, None).backward()
            optimizer.step()
    expected = dict(network.named_parameters())
    for name, weight in weights(method).items():
        torch.testing.assert_close(weight, expected[name].detach(), rtol=0, atol=0)


def test_the_first_task_replays_nothing() -> None:
    remembers, plain = (LOS(SETTING, LOSOptions(per_class=k)) for k in (1, None))
    for method in (remembers, plain):
        learn(method, 0)
    expected = weights(plain)
    for name, weight in weights(remembers).items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=0)


@pytest.mark.parametrize("masks", [(None,) * 3, SPLIT], ids=["whole", "split"])
@pytest.mark.parametrize("manifold", [None, "stiefel"])
def test_a_step_takes_both_gradients_over_the_tasks_so_far(
    masks: tuple[Tensor | None, ...], manifold: Any
) -> None:
    setting = tiny_setting(masks)
    method = LOS(setting, LOSOptions(per_class=1, manifold=manifold))
    learn(method, 0, 1)
    x, y = begin(method, 2)
    replayed = set()
    for batch in zip(x.split(BATCH), y.split(BATCH), strict=True):
        network = copy.deepcopy(method.network)
        network[2]._forward_pre_hooks.clear()
        before = {n: p.detach().clone() for n, p in network.named_parameters()}
        past, replay = copy.deepcopy(method.memory).draw_task()
        replayed.add(past)
        parts = [(*batch, 2), (replay.x, replay.y, past)]
        gradients = [
            torch.autograd.grad(
                seen_loss(network, inputs, labels, method.subspaces[task], masks[task]),
                list(network.parameters()),
            )
            for inputs, labels, task in parts
        ]
        method.step(*batch)
        after = weights(method)
        for name, current, memory in zip(before, *gradients, strict=True):
            gradient = (memory + current) / 3
            expected = before[name] - setting.lr * gradient
            if manifold and name == "0.weight":
                expected = cayley_step(before[name].T, gradient.T, setting.lr).T
            torch.testing.assert_close(after[name], expected)
    assert replayed == {0, 1}


def test_the_body_begins_with_orthonormal_weights_and_the_head_does_not() -> None:
    constrained, free = (
        weights(LOS(SETTING, LOSOptions(manifold=name))) for name in ("stiefel", None)
    )
    first = constrained["0.weight"]  # (8, 6)
    torch.testing.assert_close(first.T @ first, torch.eye(FEATURES))
    for name in ("0.bias", "2.weight", "2.bias"):
        torch.testing.assert_close(constrained[name], free[name], rtol=0, atol=0)


def test_the_weights_learn_and_stay_where_sgd_would_lead_them_away() -> None:
    def learned(follow: bool) -> tuple[float, float]:
        method = LOS(SETTING, CONVOLUTIONAL)
        start = weights(method)["0.weight"]
        if not follow:
            method.constrained = []
        learn(method, 0, 1, 2)
        first = weights(method)["0.weight"]
        left = first.T @ first - torch.eye(FEATURES)
        return float((first - start).norm()), float(left.norm())

    (moved, left), (moved_freely, left_freely) = learned(True), learned(False)
    assert moved > moved_freely / 2
    # Tests of the step say how far two iterations can lead.
    assert left < left_freely / 100


def test_convolutions_are_constrained_in_the_view_that_rgo_has_of_them() -> None:
    def network(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 4)
        )

    setting = SETTING._replace(make_network=network)
    method = LOS(setting, CONVOLUTIONAL)
    x = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    method.begin_task(0)
    method.step(x, torch.arange(5) % 4)
    rows = weights(method)["0.weight"].reshape(4, 9)
    torch.testing.assert_close(rows @ rows.T, torch.eye(4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per_class": 0}, "option 'per_class': expected a positive integer, got 0"),
        ({"manifold": "sphere"}, "option 'manifold': expected one of null, stiefel"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        LOSOptions(**options)


@pytest.mark.parametrize("options", [LOSOptions(), CONVOLUTIONAL])
@pytest.mark.parametrize("masks", [(None,) * 3, SPLIT], ids=["whole", "split"])
def test_a_resumed_run_ends_with_the_same_weights(
    options: LOSOptions, masks: tuple[Tensor | None, ...]
) -> None:
    setting = tiny_setting(masks)
    assert_resumes(LOS(setting, options), LOS(setting, options))
