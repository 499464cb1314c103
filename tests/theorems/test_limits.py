"""Where it ends: a network has no more room than its layers have features.

With little damping T tasks of r directions each close T r of n features: plasticity is
1 - T r / n, and nothing is left from T = n / r on.
"""

from functools import cache

import numpy as np
import pytest
import torch
from core.backends import Backend
from core.cases import SEEDS, normal
from core.tolerance import ERROR, unit
from hypothesis import given
from sklearn.datasets import load_digits
from theorems.laws import LAW
from torch import Tensor, nn
from torch.nn import functional

import rgo_torch
from rgo_core import (
    consolidate,
    empty_moment,
    free_directions,
    observe,
    plasticity,
    project,
)

N, R, DAMPING = 6, 2, 1e-6


def raw_projection(backend: Backend, vectors: np.ndarray) -> np.ndarray:
    moment = observe(empty_moment(N, xp=backend.xp), backend.array(vectors))
    return np.asarray(consolidate(moment, DAMPING, normalized=False))


@LAW
@given(seed=SEEDS)
def test_every_task_takes_its_share_of_the_features_until_none_is_left(
    backend: Backend, seed: int
) -> None:
    for tasks in (1, 3, 5):
        vectors = normal(seed, tasks * R, N)
        squares = np.linalg.svd(vectors, compute_uv=False) ** 2
        left = backend.call(plasticity, raw_projection(backend, vectors))
        # Each closed direction keeps 1 / (1 + square / damping).
        kept = np.sum(1 / (1 + squares / DAMPING)) / N
        condition = 1 + float(np.max(squares, initial=0)) / DAMPING
        expected = max(0.0, 1 - tasks * R / N) + kept
        assert abs(left - expected) <= ERROR * unit(condition)


@pytest.mark.parametrize("tasks", range(6))
def test_a_linear_model_learns_tasks_until_its_features_are_filled_and_none_after(
    backend: Backend, tasks: int
) -> None:
    directions = np.concatenate([normal(seed, R, N) for seed in range(tasks + 1)])
    old, new = directions[: tasks * R], directions[tasks * R :]
    Q, rate = raw_projection(backend, old), 1 / np.linalg.norm(new, 2) ** 2
    theta = np.zeros(N)
    for _ in range(2000):
        theta = theta - rate * backend.call(
            project, Q, new.T @ (new @ theta - 1), axis=-1
        )
    left = np.mean((new @ theta - 1) ** 2)  # of 1
    assert left < 1e-3 if tasks * R < N else left > 0.95
    # Either way the old tasks keep their outputs, to a thousandth of the new ones.
    if tasks:
        assert np.max(np.abs(old @ theta)) < 1e-3


TASKS, TRAINING = 10, 500


@cache
def digits(task: int) -> tuple[Tensor, Tensor]:
    """Scikit-learn's digits, their pixels in an order of the task's own."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    x = torch.tensor(data.data[order] / 16, dtype=torch.float32)
    if task:
        x = x[:, np.random.default_rng(task).permutation(64)]
    return x, torch.tensor(data.target[order])


def percent_right(model: nn.Module, task: int) -> float:
    x, y = digits(task)
    with torch.no_grad():
        right = model(x[1000:]).argmax(-1) == y[1000:]
    return 100 * float(right.double().mean())


def learn_in_order(width: int) -> tuple[list[float], list[float], list[float]]:
    """Return plasticity, effective share of free directions, and ACC, task by task."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rgo = rgo_torch.RGO(model, optimizer, damping=0.01)
    left, free, accuracy = [], [], []
    for task in range(TASKS):
        rgo.begin_task(task)
        x, y = (part[:TRAINING] for part in digits(task))
        for _ in range(3):
            for batch in torch.randperm(TRAINING).split(10):
                optimizer.zero_grad()
                functional.cross_entropy(model(x[batch]), y[batch]).backward()
                optimizer.step()
        rgo.end_task(list(zip(x.split(10), y.split(10), strict=True)))
        moment = rgo.projector.moments["2.weight"]
        left.append(float(plasticity(consolidate(moment, 0.01, normalized=False))))
        free.append(float(free_directions(consolidate(moment, 0.01))) / width)
        found = []
        for old in range(task + 1):
            with rgo.task(old):
                found.append(percent_right(model, old))
        accuracy.append(float(np.mean(found)))
    return left, free, accuracy


def test_a_narrow_network_runs_out_of_plasticity_and_then_forgets() -> None:
    found = {width: learn_in_order(width) for width in (8, 32, 128)}
    # Figures of a run, after ten tasks: plasticity 0.001, 0.007, 0.064 and ACC 43.8,
    # 73.4, 90.4 for widths 8, 32, 128.
    last = {width: (left[-1], acc[-1]) for width, (left, _, acc) in found.items()}
    lost = {width: max(acc) - acc[-1] for width, (_, _, acc) in found.items()}
    for left, _, _ in found.values():
        assert left == sorted(left, reverse=True)
    assert last[8] < last[32] < last[128]
    assert lost[8] > lost[32] > lost[128]
    assert last[8][0] < 0.01 < last[128][0]
    assert last[8][1] < 60 < 85 < last[128][1]
    # Normalised, the closed directions look free again: that is how it forgets.
    assert found[8][1][-1] > found[8][1][0]
