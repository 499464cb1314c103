"""Runs that were cut off go on where they were."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from bench.short_runs import (
    CPU,
    STEPS,
    Listener,
    checkpoint_of,
    equal,
    files_in,
    interrupt,
    path_of,
    short_spec,
    start,
    without_times,
)

from rgo_bench.methods import METHODS
from rgo_bench.runs.checkpoint import read_checkpoint, write_checkpoint
from rgo_bench.runs.run import run
from rgo_bench.runs.spec import make_spec

pytestmark = pytest.mark.usefixtures("one_thread")


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
        os.utime(folder / name, (0, 0))
    written_now = ".seed-0.json.46.tmp"  # by another process
    (folder / written_now).write_bytes(b"half")
    run(spec, tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["seed-0.json", written_now, *of_others]
    )
    # Killed between writing the record and removing the checkpoint.
    (folder / "seed-0.checkpoint").write_bytes(b"whatever")
    run(spec, tmp_path)
    assert not (folder / "seed-0.checkpoint").exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", METHODS)
def test_a_run_on_cuda_goes_on_after_being_cut_off(method: str, tmp_path: Path) -> None:
    spec = short_spec(method)
    interrupt(spec, tmp_path, 1, device="cuda")
    record = run(spec, tmp_path, device="cuda")
    assert record.environment["device"] == torch.cuda.get_device_name()
    on_cpu = run(spec, tmp_path / "cpu")
    assert record.acc == pytest.approx(on_cpu.acc, abs=10)


def test_a_checkpoint_from_before_training_was_measured_goes_on(tmp_path: Path) -> None:
    spec = short_spec("sgd")
    checkpoint = interrupt(spec, tmp_path, 1)
    state = read_checkpoint(checkpoint, CPU)
    del state["train_accuracy"]
    write_checkpoint(checkpoint, state)
    assert run(spec, tmp_path).train_accuracy is None
