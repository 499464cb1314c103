import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from bench.short_runs import (
    SHORT,
    InterruptedRunError,
    Listener,
    checkpoint_of,
    files_in,
    path_of,
    short_spec,
    without_times,
)

from rgo_bench.records import read_records
from rgo_bench.runs.attempts import Manner, Outcome, unrecorded
from rgo_bench.runs.checkpoint import read_checkpoint
from rgo_bench.runs.jobs import run_jobs
from rgo_bench.runs.run import run
from rgo_bench.runs.spec import Spec
from rgo_bench.runs.threads import THREAD_VARIABLES

GOOD = [short_spec("rgo"), short_spec("sgd", seed=1)]
BAD = short_spec("sgd", lr=1e30)  # ends in NaN
THREADS = 2
LONG = 300  # tasks: so many that no run ends before it is stopped
VICTIM = short_spec(tasks=LONG)


class Listeners:
    """The bars of several runs."""

    def __init__(self) -> None:
        self.of: dict[Spec, Listener] = {}

    def add(self, spec: Spec) -> Listener:
        self.of[spec] = Listener()
        return self.of[spec]


class Killer(Listeners):
    """Kills the process of one run when it has learned a task."""

    def __init__(self, victim: Spec) -> None:
        super().__init__()
        self.victim = victim
        self.known: set[int | None] = set()

    def add(self, spec: Spec) -> Listener:
        processes = {each.pid for each in multiprocessing.active_children()}
        (pid,) = processes - self.known
        self.known |= processes
        listener = super().add(spec)
        if spec == self.victim:
            assert pid is not None
            listener.tested = lambda *_: os.kill(pid, signal.SIGKILL)  # type: ignore[method-assign]
        return listener


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    """An environment to be left as it is; the threads of this process are put back."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(THREAD_VARIABLES[0], "7")
        patch.delenv(THREAD_VARIABLES[1], raising=False)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def listeners() -> Listeners:
    return Killer(VICTIM)


@pytest.fixture(scope="module")
def outcome(
    tmp_path_factory: pytest.TempPathFactory, listeners: Listeners
) -> tuple[Outcome, Path]:
    """Two good runs, a bad one and one that is killed, two at a time."""
    out = tmp_path_factory.mktemp("jobs")
    specs = [GOOD[0], BAD, VICTIM, GOOD[1]]
    manner = Manner(out=out, threads=THREADS)
    return run_jobs(specs, manner, jobs=2, bars=listeners), out


def test_two_at_a_time_give_the_records_of_one_after_another(
    outcome: tuple[Outcome, Path], tmp_path: Path
) -> None:
    manner = Manner(out=tmp_path, threads=THREADS)
    alone = run_jobs(GOOD, manner, jobs=1, bars=Listeners())
    assert alone.failures == []
    together = [without_times(record) for record in outcome[0].records]
    assert together == [without_times(record) for record in alone.records]
    paths = [path_of(spec, outcome[1]) for spec in GOOD]
    # Besides, the killed run may leave its checkpoint, whole or half, in its folder.
    killed = path_of(VICTIM, outcome[1]).parent
    kept = [n for n in files_in(outcome[1]) if (outcome[1] / n).parent != killed]
    assert kept == sorted(str(path.relative_to(outcome[1])) for path in paths)


def test_a_failing_run_is_reported_with_its_traceback_and_spoils_no_other(
    outcome: tuple[Outcome, Path],
) -> None:
    failure, _ = outcome[0].failures
    assert failure.spec == BAD
    assert failure.reason.startswith("ValueError: after task 0 the network returns NaN")
    assert failure.details.startswith("Traceback")
    assert failure.details.rstrip().endswith(failure.reason)


def test_a_failing_run_spoils_no_other_in_this_process_either(tmp_path: Path) -> None:
    specs = [BAD, GOOD[1]]
    outcome = run_jobs(specs, Manner(out=tmp_path), jobs=1, bars=Listeners())
    assert [record.method for record in outcome.records] == ["sgd"]
    assert [failure.spec for failure in outcome.failures] == [BAD]


def test_progress_is_heard_from_every_process(
    outcome: tuple[Outcome, Path], listeners: Listeners
) -> None:
    for spec, record in zip(GOOD, outcome[0].records, strict=True):
        heard = listeners.of[spec]
        assert sum(heard.steps.values()) == SHORT["tasks"] * spec.stream_options.steps
        assert heard.accuracy[SHORT["tasks"] - 1] == pytest.approx(record.acc, abs=0.01)


def test_what_is_recorded_already_is_read_without_a_process(
    outcome: tuple[Outcome, Path],
) -> None:
    records, out = outcome[0].records, outcome[1]
    listeners = Listeners()
    again = run_jobs(GOOD, Manner(out=out), jobs=2, bars=listeners)
    assert again == Outcome(records, [])
    assert set(listeners.of) == set(GOOD)
    assert unrecorded([*GOOD, BAD], Manner(out=out)) == [BAD]
    assert unrecorded(GOOD, Manner(out=out, force=True)) == GOOD


def test_the_threads_are_as_asked_and_no_environment_is_changed(
    outcome: tuple[Outcome, Path],
) -> None:
    environments = [record.environment for record in outcome[0].records]
    assert [environment["threads"] for environment in environments] == [THREADS] * 2
    assert os.environ[THREAD_VARIABLES[0]] == "7"
    assert THREAD_VARIABLES[1] not in os.environ


def test_a_killed_process_is_reported_and_the_others_finish(
    outcome: tuple[Outcome, Path],
) -> None:
    assert [record.method for record in outcome[0].records] == ["rgo", "sgd"]
    _, failure = outcome[0].failures
    assert failure.spec == VICTIM
    assert failure.reason == (
        "its process was killed by SIGKILL; was there enough memory?"
    )
    assert not multiprocessing.active_children()


INTERRUPTED = f"""
import os, signal, sys
from pathlib import Path
from rgo_bench.runs.attempts import Manner, unrecorded
from rgo_bench.runs.jobs import run_jobs
from rgo_bench.runs.spec import make_spec

def spec(seed, tasks):
    options = {{"tasks": tasks, "samples": 60, "epochs": 1}}
    return make_spec("permuted-digits", "sgd", seed, options)

class Bar:
    def __init__(self, seed):
        self.seed = seed
    def stepped(self, task, steps):
        pass
    def tested(self, task, accuracy):
        if self.seed == 1 and not unrecorded(specs[:1], manner):
            os.killpg(0, signal.SIGINT)  # what a terminal does

class Bars:
    def add(self, spec):
        return Bar(spec.seed)

if __name__ == "__main__":
    # A shell without job control lets what it starts in the background ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    manner = Manner(out=Path(sys.argv[1]))
    specs = [spec(0, 3), spec(1, {LONG})]
    run_jobs(specs, manner, jobs=2, bars=Bars())
"""


def test_an_interrupt_leaves_records_checkpoints_and_no_process(tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(out)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _, errors = ended.communicate(timeout=120)
    assert ended.returncode == -signal.SIGINT
    assert errors.count("Traceback") == 1, errors
    assert_group_ends(ended.pid)
    assert [record.seed for record in read_records(out)] == [0]
    assert_resumable(short_spec(seed=1, tasks=LONG), out)


def assert_group_ends(group: int) -> None:
    """Python's own helper takes a moment to see that it is no longer needed."""
    deadline = time.monotonic() + 20
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.05)
        pytest.fail("processes remained")


def assert_resumable(spec: Spec, out: Path) -> None:
    done = read_checkpoint(checkpoint_of(spec, out), torch.device("cpu"))["task"]
    listener = Listener(stop_in=done)
    with pytest.raises(InterruptedRunError):
        run(spec, out, reporter=listener)
    assert listener.steps == {done - 1: done * spec.stream_options.steps}
