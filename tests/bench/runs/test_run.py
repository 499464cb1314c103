import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench.short_runs import (
    SHORT,
    InterruptedRunError,
    Listener,
    checkpoint_of,
    equal,
    files_in,
    path_of,
    short_spec,
    start,
    without_times,
)
from bench.small_settings import tiny_setting
from torch.nn import functional

from rgo_bench.methods import METHODS
from rgo_bench.networks import mlp
from rgo_bench.records import read_record
from rgo_bench.runs.checkpoint import read_checkpoint, write_checkpoint
from rgo_bench.runs.run import run
from rgo_bench.runs.spec import Spec, make_spec
from rgo_bench.streams import make_stream
from rgo_bench.streams.draws import task_generator

CPU = torch.device("cpu")
STEPS = SHORT["samples"] // 10  # of a task


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    # As many as a process of the command line: sums depend on their number.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def interrupt(spec: Spec, out: Path, stop_in: int, **options: Any) -> Path:
    """Begin a run or go on with it, and return the checkpoint that it leaves."""
    with pytest.raises(InterruptedRunError):
        run(spec, out, reporter=Listener(stop_in), **options)
    return checkpoint_of(spec, out)


def wait_for(there: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not there() and time.monotonic() < end:
        time.sleep(0.001)
    assert there()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
# Enough samples that the kill comes long before the end.
@pytest.mark.parametrize(
    ("method", "samples"), [("rgo", 500), ("sgd", 1400), ("stl", 1400)]
)
def test_a_killed_run_ends_with_the_record_of_one_that_was_not(
    method: str, samples: int, tmp_path: Path
) -> None:
    options = {"tasks": 3, "samples": samples, "epochs": 1}
    spec = make_spec("permuted-digits", method, 1, options)
    settings = [f"--set={name}={value}" for name, value in options.items()]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    checkpoint = checkpoint_of(spec, killed)
    process = start(
        *("run", "permuted-digits", "--method", method, "--seed", "1"),
        *(*settings, "--out", str(killed)),
    )
    wait_for(lambda: checkpoint.exists() or process.poll() is not None)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not path_of(spec, killed).exists()
    before = read_checkpoint(checkpoint, CPU)
    assert 1 <= before["task"] < 3
    heard = Listener()
    resumed = run(spec, killed, reporter=heard)
    assert min(set(heard.accuracy) - {before["task"] - 1}) == before["task"]
    assert without_times(resumed) == without_times(run(spec, whole))
    assert resumed.seconds["train"] > before["seconds"]["train"] > 0
    assert files_in(killed) == files_in(whole)
    assert len(files_in(killed)) == 1


@pytest.mark.parametrize("method", METHODS)
def test_a_run_cut_off_after_any_task_goes_on_bit_for_bit(
    method: str, tmp_path: Path
) -> None:
    spec = short_spec(method, seed=2, tasks=4)
    for stop in (1, 2, 3):
        cut = interrupt(spec, tmp_path / "cut", stop)
    whole = interrupt(spec, tmp_path / "whole", 3)
    states = [read_checkpoint(path, CPU) for path in (cut, whole)]
    for state in states:
        del state["seconds"]
    accuracy = [np.asarray(state.pop("accuracy")) for state in states]
    np.testing.assert_array_equal(*accuracy)
    assert equal(*states)
    assert states[0]["task"] == 3
    finished = [run(spec, tmp_path / name) for name in ("cut", "whole")]
    assert without_times(finished[0]) == without_times(finished[1])


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


def test_seconds_are_summed_over_both_parts_of_a_run(tmp_path: Path) -> None:
    spec = short_spec("rgo")
    checkpoint = interrupt(spec, tmp_path, 1)
    state = read_checkpoint(checkpoint, CPU)
    earlier = {name: spent + 1000 for name, spent in state["seconds"].items()}
    write_checkpoint(checkpoint, state | {"seconds": earlier})
    start = time.perf_counter()
    seconds = run(spec, tmp_path).seconds
    took = time.perf_counter() - start
    added = {name: seconds[name] - earlier[name] for name in earlier}
    assert all(-0.001 < spent < took for spent in added.values())
    assert min(added["train"], added["evaluate"]) > 0
    assert sum(added.values()) < took


def test_finished_tasks_are_not_learned_again(tmp_path: Path) -> None:
    spec = short_spec("sgd")
    interrupt(spec, tmp_path, 2)
    heard = Listener()
    record = run(spec, tmp_path, reporter=heard)
    # What was done before is reported at once.
    assert heard.steps == {1: 2 * STEPS, 2: STEPS}
    assert list(heard.accuracy) == [1, 2]
    assert heard.accuracy[2] == pytest.approx(record.acc, abs=0.01)


def test_a_reporter_hears_every_step_and_the_average_after_every_task(
    tmp_path: Path,
) -> None:
    heard = Listener()
    spec = short_spec("sgd", samples=75, epochs=9)  # 8 batches, the last one of 5
    record = run(spec, tmp_path, reporter=heard)
    assert heard.steps == {0: 72, 1: 72, 2: 72}
    averages = [np.mean(row[: t + 1]) for t, row in enumerate(record.matrix)]
    assert list(heard.accuracy.values()) == pytest.approx(averages, abs=0.01)


def test_a_run_that_fails_in_its_last_task_leaves_all_others_done(
    tmp_path: Path,
) -> None:
    spec = short_spec("sgd")
    checkpoint = interrupt(spec, tmp_path, 2)
    assert read_checkpoint(checkpoint, CPU)["task"] == 2
    assert files_in(tmp_path) == [str(checkpoint.relative_to(tmp_path))]


def test_a_run_killed_before_its_record_was_written_only_writes_it(
    tmp_path: Path,
) -> None:
    spec = short_spec("sgd")
    checkpoint = interrupt(spec, tmp_path / "a", 2)
    state = read_checkpoint(checkpoint, CPU)
    state["accuracy"][2] = [10.0, 20.0, 30.0]
    write_checkpoint(checkpoint, state | {"task": 3})
    heard = Listener()
    record = run(spec, tmp_path / "a", reporter=heard)
    assert record.accuracy[2] == (10, 20, 30)
    assert heard.steps == {2: 3 * STEPS}
    assert files_in(tmp_path / "a") == [str(path_of(spec, Path()))]


def test_what_a_kill_left_behind_is_removed_at_the_end(tmp_path: Path) -> None:
    spec = short_spec("sgd")
    folder = interrupt(spec, tmp_path, 1).parent
    leftovers = [".seed-0.checkpoint.123.tmp", ".seed-0.json.45.tmp"]
    of_others = [".seed-00.json.1.tmp", ".seed-1.checkpoint.1.tmp", "seed-1.checkpoint"]
    for name in (*leftovers, *of_others):
        (folder / name).write_bytes(b"half")
    run(spec, tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["seed-0.json", *of_others]
    )
    # Killed between writing the record and removing the checkpoint.
    (folder / "seed-0.checkpoint").write_bytes(b"whatever")
    run(spec, tmp_path)
    assert not (folder / "seed-0.checkpoint").exists()


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    spec = short_spec("rgo")
    first = run(spec, tmp_path)
    path = path_of(spec, tmp_path)
    before = path.stat(), path.read_bytes()
    heard = Listener()
    assert run(spec, tmp_path, reporter=heard) == first
    after = path.stat(), path.read_bytes()
    assert (before[0].st_mtime_ns, before[0].st_ino) == (
        after[0].st_mtime_ns,
        after[0].st_ino,
    )
    assert before[1] == after[1]
    assert heard.steps == {2: 3 * STEPS}  # told that all is done
    assert heard.accuracy == {2: first.acc}


@pytest.mark.parametrize("method", ["rgo", "sgd", "stl"])
def test_force_runs_again_from_the_start_and_gives_the_same_numbers(
    method: str, tmp_path: Path
) -> None:
    spec = short_spec(method)
    first = run(spec, tmp_path)
    before = path_of(spec, tmp_path).stat()
    heard = Listener()
    second = run(spec, tmp_path, force=True, reporter=heard)
    assert heard.steps == dict.fromkeys(range(3), STEPS)
    assert path_of(spec, tmp_path).stat().st_ino != before.st_ino
    assert without_times(second) == without_times(first)
    assert len(files_in(tmp_path)) == 1


def test_force_starts_a_begun_run_again(tmp_path: Path) -> None:
    spec = short_spec("sgd")
    interrupt(spec, tmp_path, 2)
    heard = Listener()
    run(spec, tmp_path, force=True, reporter=heard)
    assert heard.steps == dict.fromkeys(range(3), STEPS)
    assert len(files_in(tmp_path)) == 1


def test_a_forced_run_that_is_cut_off_leaves_the_record_that_was_there(
    tmp_path: Path,
) -> None:
    spec = short_spec("sgd")
    run(spec, tmp_path)
    before = path_of(spec, tmp_path).read_bytes()
    interrupt(spec, tmp_path, 1, force=True)
    assert path_of(spec, tmp_path).read_bytes() == before


@pytest.mark.parametrize("keep", [0, 20, -1])
def test_a_broken_checkpoint_is_refused_and_kept_until_forced(
    keep: int, tmp_path: Path
) -> None:
    spec = short_spec("sgd")
    checkpoint = interrupt(spec, tmp_path, 1)
    broken = checkpoint.read_bytes()[:keep]
    checkpoint.write_bytes(broken)
    message = (
        f"{checkpoint}: expected a checkpoint, got a broken file; start again with "
        "--force"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        run(spec, tmp_path)
    assert checkpoint.read_bytes() == broken
    assert files_in(tmp_path) == [str(checkpoint.relative_to(tmp_path))]
    run(spec, tmp_path, force=True)
    assert files_in(tmp_path) == [str(path_of(spec, Path()))]


def test_a_checkpoint_of_another_configuration_is_refused_and_kept(
    tmp_path: Path,
) -> None:
    spec, other = short_spec("sgd"), short_spec("sgd", lr=0.2)
    content = interrupt(other, tmp_path / "other", 1).read_bytes()
    checkpoint = interrupt(spec, tmp_path / "here", 1)
    checkpoint.write_bytes(content)
    message = (
        f"{checkpoint}: expected a checkpoint of {spec.config}, got one of "
        f"{other.config}; start again with --force"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        run(spec, tmp_path / "here")
    assert checkpoint.read_bytes() == content


def test_a_record_of_another_configuration_is_refused_and_kept(tmp_path: Path) -> None:
    # As when a default has changed since it was written.
    spec = short_spec("rgo")
    run(spec, tmp_path)
    path = path_of(spec, tmp_path)
    content = json.loads(path.read_text())
    content["config"]["damping"] = 77.0
    path.write_text(json.dumps(content))
    message = f"{path}: expected a record of {spec.config}, got one of "
    with pytest.raises(ValueError, match=f"{re.escape(message)}.*77.0.*--force"):
        run(spec, tmp_path)
    assert json.loads(path.read_text()) == content
    assert run(spec, tmp_path, force=True).config == spec.config


def test_a_broken_record_is_named_and_kept(tmp_path: Path) -> None:
    spec = short_spec("sgd")
    path = path_of(spec, tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text('{"stream": ')
    with pytest.raises(ValueError, match=re.escape(str(path))):
        run(spec, tmp_path)
    assert path.read_text() == '{"stream": '


@pytest.mark.parametrize("taken", ["", "permuted-digits", "permuted-digits/sgd"])
def test_a_folder_that_cannot_be_written_to_is_refused_before_training(
    taken: str, tmp_path: Path
) -> None:
    spec, out = short_spec("sgd"), tmp_path / "out"
    blocked = out / taken
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.touch()
    heard = Listener()
    folder = path_of(spec, out).parent
    message = f"{folder}: expected a folder that records can be written to, got: "
    with pytest.raises(OSError, match=re.escape(message)):
        run(spec, out, reporter=heard)
    assert heard.steps == {}
    assert blocked.is_file()


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0,
    reason="nothing keeps this user from writing",
)
def test_a_folder_without_permission_is_refused_before_training(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    heard = Listener()
    with pytest.raises(OSError, match="expected a folder that records can be written"):
        run(short_spec("sgd"), tmp_path, reporter=heard)
    assert heard.steps == {}


@pytest.mark.parametrize("device", ["tpu", "cuda:7", ""])
def test_a_device_that_is_not_there_is_refused(device: str, tmp_path: Path) -> None:
    message = rf"device: expected cpu.*, the devices that there are, got '{device}'"
    with pytest.raises(ValueError, match=message):
        run(short_spec("sgd"), tmp_path, device=device)
    assert files_in(tmp_path) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_is_refused_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"device: expected cpu, .* got 'cuda'"):
        run(short_spec("sgd"), tmp_path, device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", METHODS)
def test_a_run_on_cuda_goes_on_after_being_cut_off(method: str, tmp_path: Path) -> None:
    spec = short_spec(method)
    interrupt(spec, tmp_path, 1, device="cuda")
    record = run(spec, tmp_path, device="cuda")
    assert record.environment["device"] == torch.cuda.get_device_name()
    on_cpu = run(spec, tmp_path / "cpu")
    assert record.acc == pytest.approx(on_cpu.acc, abs=10)


def test_data_that_are_not_there_are_reported_before_anything_is_written(
    tmp_path: Path,
) -> None:
    spec = make_spec("permuted-mnist", "sgd", 0, data=tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="expected the four IDX files"):
        run(spec, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("rgo", {"damping": -1}, "damping must be a finite number > 0, got -1.0"),
        (
            "rgo",
            {"per": "pixel"},
            "option 'per': expected one of sample, batch, got 'pixel'",
        ),
        ("sgd", {"samples": 9999}, "option 'samples' of permuted-digits: expected at"),
    ],
)
def test_values_that_do_not_do_are_refused_before_anything_is_written(
    method: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        run(short_spec(method, **options), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["rgo", "rgo-2", "sgd", "stl"])
def test_a_run_that_diverges_says_so_and_writes_no_record(
    method: str, tmp_path: Path
) -> None:
    message = (
        "after task 0 the network returns NaN: the learning rate 1e+30 may be too high"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        run(short_spec(method, lr=1e30), tmp_path)
    assert files_in(tmp_path) == []


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


def test_a_checkpoint_from_before_training_was_measured_goes_on(tmp_path: Path) -> None:
    spec = short_spec("sgd")
    checkpoint = interrupt(spec, tmp_path, 1)
    state = read_checkpoint(checkpoint, CPU)
    del state["train_accuracy"]
    write_checkpoint(checkpoint, state)
    assert run(spec, tmp_path).train_accuracy is None


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
