from pathlib import Path

import numpy as np
import torch
from bench.short_runs import make_method, short_spec
from bench.small_settings import learn, samples, tiny_setting

from rgo_bench.runs.run import run

SETTING = tiny_setting()


def test_every_task_starts_from_a_network_of_its_own() -> None:
    method = make_method("stl")
    fresh = []
    for task in range(2):
        method.begin_task(task)
        fresh.append(method.network[0].weight.detach().clone())
        method.step(*samples(task, SETTING))
    assert not torch.equal(*fresh)
    again = make_method("stl")
    again.begin_task(1)
    assert torch.equal(again.network[0].weight, fresh[1])


def test_what_was_learned_before_does_not_matter() -> None:
    alone, after = make_method("stl"), make_method("stl")
    learn(after, 0)
    for method in (alone, after):
        learn(method, 1)
    x, _ = samples(1, SETTING)
    assert torch.equal(alone.predict(x, 1), after.predict(x, 1))


def test_neighbouring_seeds_share_no_network() -> None:
    weights = set()
    for seed in range(3):
        method = make_method("stl", seed=seed)
        for task in range(3):
            method.begin_task(task)
            weights.add(method.network[0].weight.detach().numpy().tobytes())
    assert len(weights) == 9


def test_accuracies_on_earlier_tasks_are_carried_over(tmp_path: Path) -> None:
    record = run(short_spec("stl", samples=300), tmp_path)
    learned = np.diag(record.matrix)
    for task, row in enumerate(record.matrix):
        np.testing.assert_array_equal(row[: task + 1], learned[: task + 1])
        assert np.isnan(row[task + 1 :]).all()
    assert record.bwt == 0
    assert learned.min() > 30
