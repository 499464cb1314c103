from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench.short_runs import (
    CPU,
    SHORT,
    Listener,
    equal,
    interrupt,
    path_of,
    short_spec,
    without_times,
)
from bench.small_settings import tiny_setting
from torch.nn import functional

from rgo_bench.methods import METHODS
from rgo_bench.networks import mlp
from rgo_bench.records import read_record
from rgo_bench.runs.checkpoint import read_checkpoint
from rgo_bench.runs.reporter import Silent
from rgo_bench.runs.run import begin_run, run
from rgo_bench.runs.spec import make_spec
from rgo_bench.streams import make_stream
from rgo_bench.streams.draws import task_generator

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("method", METHODS)
def test_a_run_gives_the_same_numbers_whatever_was_drawn_before(
    method: str, tmp_path: Path
) -> None:
    spec = short_spec(method, tasks=2)
    first = interrupt(spec, tmp_path / "first", 1)
    torch.rand(7)
    np.random.default_rng().random(7)
    second = interrupt(spec, tmp_path / "second", 1)
    states = [read_checkpoint(path, CPU)["method"] for path in (first, second)]
    assert equal(*states)


def test_a_reporter_hears_every_step_and_the_average_after_every_task(
    tmp_path: Path,
) -> None:
    heard = Listener()
    spec = short_spec("sgd", samples=75, epochs=9)  # 8 batches, the last one of 5
    record = run(spec, tmp_path, reporter=heard)
    assert heard.steps == {0: 72, 1: 72, 2: 72}
    averages = [np.mean(row[: t + 1]) for t, row in enumerate(record.matrix)]
    assert list(heard.accuracy.values()) == pytest.approx(averages, abs=0.01)


def test_the_record_states_what_was_run(tmp_path: Path) -> None:
    spec = short_spec("rgo", seed=4, per="batch")
    record = run(spec, tmp_path)
    assert record == read_record(path_of(spec, tmp_path))
    assert (record.stream, record.method) == ("permuted-digits", "rgo")
    assert (record.network, record.backend, record.seed) == ("mlp", "torch", 4)
    assert (record.config, record.variant) == (spec.config, spec.variant)
    assert min(record.seconds.values()) >= 0
    assert record.environment["device"] == "cpu"
    assert record.environment["threads"] == torch.get_num_threads()


def test_every_task_so_far_is_tested_after_each_and_none_to_come(
    tmp_path: Path,
) -> None:
    tested = ~np.isnan(run(short_spec("sgd"), tmp_path).matrix)
    np.testing.assert_array_equal(tested, np.tri(3, dtype=bool))


SPLIT: dict[str, Any] = {"tasks": 3, "samples": 100, "epochs": 1}


@pytest.mark.parametrize("method", ["sgd", "stl"])
def test_a_split_stream_measures_the_training_samples_too(
    method: str, tmp_path: Path
) -> None:
    spec = make_spec("split-digits", method, 1, SPLIT)
    record = run(spec, tmp_path)
    assert record == read_record(path_of(spec, tmp_path))
    # The same, from what a checkpoint before the last task and its training leave.
    cut = interrupt(spec, tmp_path / "cut", 2)
    heard = without_times(run(spec, tmp_path / "cut"))
    assert not cut.exists()
    assert heard == without_times(record)
    assert record.train_accuracy is not None
    assert len(record.train_accuracy) == 3
    stream = make_stream("split-digits", seed=1, **SPLIT)
    setting = tiny_setting(tuple(torch.tensor(stream.mask(t)) for t in range(3)))
    make = setting._replace(
        make_network=lambda seed: mlp(stream.input_shape, 10, seed), seed=1
    )
    learner = METHODS[method].build(make, METHODS[method].defaults)
    right = np.zeros(3)
    for task in range(3):
        learner.begin_task(task)
        x, y = map(torch.from_numpy, stream.train(task))
        rows = task_generator(1, task, "order").permutation(100)
        for chosen in np.split(rows, 10):
            learner.step(x[chosen], y[chosen])
        # STL's when each is learned; SGD's of the last network, which overwrites.
        for tested in range(task + 1) if method == "sgd" else [task]:
            x, y = map(torch.from_numpy, stream.train(tested))
            with torch.no_grad():
                logits = learner.predict(x, tested)
            right[tested] = int((logits.argmax(1) == y).sum())
    assert record.train_accuracy == tuple(right)


@pytest.mark.parametrize(
    ("stream", "own"), [("split-digits", True), ("permuted-digits", False)]
)
def test_methods_are_told_whether_tasks_have_outputs_of_their_own(
    stream: str, own: bool, tmp_path: Path
) -> None:
    options = SPLIT if own else SHORT
    cut = interrupt(make_spec(stream, "gpm", 0, options), tmp_path, 2)
    bases = read_checkpoint(cut, CPU)["method"]["bases"]
    layers = 3  # of the MLP
    assert len(bases) == layers - own


def test_other_streams_do_not_so_that_their_records_stay_as_they_are(
    tmp_path: Path,
) -> None:
    spec = short_spec("sgd")
    assert run(spec, tmp_path).train_accuracy is None
    assert "train_accuracy" not in path_of(spec, tmp_path).read_text()


def test_a_run_of_sgd_is_the_loop_of_the_protocol_bit_for_bit(tmp_path: Path) -> None:
    spec = short_spec("sgd", seed=1, samples=65, epochs=2)
    state = read_checkpoint(interrupt(spec, tmp_path, 2), CPU)
    stream = make_stream(spec.stream, seed=1, **spec.stream_options.as_dict())
    network = mlp((64,), 10, seed=1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for task in range(2):
        x, y = map(torch.from_numpy, stream.train(task))
        order = task_generator(1, task, "order")
        for rows in (order.permutation(65), order.permutation(65)):
            for first in range(0, 65, 10):
                chosen = rows[first : first + 10]
                optimizer.zero_grad()
                functional.cross_entropy(network(x[chosen]), y[chosen]).backward()
                optimizer.step()
        for tested in range(task + 1):
            x, y = map(torch.from_numpy, stream.test(tested))
            right = int((network(x).argmax(1) == y).sum())
            assert state["accuracy"][task][tested] == 100 * right / 300
    assert equal(state["method"]["network"], network.state_dict())


def test_another_seed_gives_other_numbers(tmp_path: Path) -> None:
    records = [run(short_spec("sgd", seed), tmp_path) for seed in (0, 1)]
    assert records[0].accuracy != records[1].accuracy


def test_a_run_is_in_the_default_dtype_of_pytorch() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        running: Any = begin_run(short_spec("rgo", tasks=2))
        running.learn(Silent())
    finally:
        torch.set_default_dtype(torch.float32)
    state = running.method.state_dict()["network"]
    assert {value.dtype for value in state.values()} == {torch.float64}
    projections = running.method.rgo.projector.projections.values()
    assert {matrix.dtype for matrix in projections} == {torch.float64}
