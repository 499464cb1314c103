"""Runs that were finished or begun, asked for again."""

from pathlib import Path

import pytest
from bench.short_runs import (
    STEPS,
    Listener,
    files_in,
    interrupt,
    path_of,
    short_spec,
    without_times,
)

from rgo_bench.runs.run import run

pytestmark = pytest.mark.usefixtures("one_thread")


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
