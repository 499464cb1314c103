"""Many runs, some at a time, each in a process of its own."""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import NamedTuple, cast

from rgo_bench.records import Record, check_writable, record_path
from rgo_bench.runs.attempts import (
    Failure,
    Manner,
    Outcome,
    attempt,
    import_plugins,
    unrecorded,
)
from rgo_bench.runs.reporter import Bars, Reporter
from rgo_bench.runs.spec import Spec
from rgo_bench.runs.threads import THREAD_VARIABLES


def run_jobs(
    specs: Sequence[Spec], manner: Manner, *, jobs: int, bars: Bars
) -> Outcome:
    """Run all of `specs`, up to `jobs` at a time; one that fails spoils no other.

    No two are of the same run. With one job the runs are made in this process, in which
    records that are there already are read in any case. Nothing starts if the first
    record cannot be written. After an interrupt every process has ended; what was
    finished is recorded, and what was under way resumes after its last finished task.
    """
    for spec in unrecorded(specs, manner)[:1]:
        check_writable(record_path(manner.out, spec).parent)
    results: dict[int, Record | Failure] = {}
    apart: dict[int, Spec] = {}
    for place, spec in enumerate(specs):
        if jobs > 1 and unrecorded([spec], manner):
            apart[place] = spec
        else:
            results[place] = attempt(spec, manner, bars.add(spec))
    if apart:
        results |= _Workers(manner, bars).work(apart, jobs)
    return Outcome.of(results)


class _Worker(NamedTuple):
    """A process under way."""

    place: int  # of its run among all
    spec: Spec
    process: SpawnProcess
    reporter: Reporter


class _Workers:
    """The processes under way, each at the other end of a line of its own.

    A queue that all share would hang for good if a process were killed while it
    writes; a line that breaks tells of its own process alone.
    """

    def __init__(self, manner: Manner, bars: Bars) -> None:
        self._manner = manner
        self._bars = bars
        self._context = multiprocessing.get_context("spawn")
        self._active: dict[Connection, _Worker] = {}
        self._results: dict[int, Record | Failure] = {}

    def work(self, specs: Mapping[int, Spec], jobs: int) -> dict[int, Record | Failure]:
        """Run everything and return what came of each; leave no process behind."""
        waiting = list(specs.items())
        try:
            while waiting or self._active:
                while waiting and len(self._active) < jobs:
                    self._start(*waiting.pop(0))
                for line in wait(list(self._active)):
                    self._listen(cast("Connection", line))
        finally:
            for worker in self._active.values():
                worker.process.terminate()
            for worker in self._active.values():
                worker.process.join()
        return self._results

    def _start(self, place: int, spec: Spec) -> None:
        line, far_end = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_work, args=(spec, self._manner, far_end), daemon=True
        )
        with _inherited(self._manner.threads):
            process.start()
            # Inside, where no interrupt comes between: what runs must be known.
            self._active[line] = _Worker(place, spec, process, self._bars.add(spec))
        # The line ends when no process holds its far end.
        far_end.close()

    def _listen(self, line: Connection) -> None:
        worker = self._active[line]
        try:
            kind, payload = line.recv()
        except (EOFError, OSError):
            worker.process.join()
            kind, payload = "result", _died(worker)
        if kind != "result":
            getattr(worker.reporter, kind)(*payload)
            return
        self._results[worker.place] = payload
        worker.process.join()
        del self._active[line]
        line.close()


class _Messenger:
    """The reporter of a run in another process."""

    def __init__(self, line: Connection) -> None:
        self._line = line

    def stepped(self, task: int, steps: int) -> None:
        self._line.send(("stepped", (task, steps)))

    def tested(self, task: int, accuracy: float) -> None:
        self._line.send(("tested", (task, accuracy)))


@contextmanager
def _inherited(threads: int) -> Iterator[None]:
    """Give a process started inside few threads, and no ear for Ctrl-C.

    The terminal interrupts every process; only the parent answers. Libraries read
    their threads when they are imported, before any of our code runs.
    """
    before = {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name in THREAD_VARIABLES:
            del os.environ[name]
        os.environ.update(before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _work(spec: Spec, manner: Manner, line: Connection) -> None:
    import_plugins(manner.plugins)
    line.send(("result", attempt(spec, manner, _Messenger(line))))


def _died(worker: _Worker) -> Failure:
    """Tell of a process that ended without a word."""
    code = worker.process.exitcode or 0
    reason = f"its process ended with exit code {code}"
    if code < 0:
        name = signal.Signals(-code).name
        reason = f"its process was killed by {name}; was there enough memory?"
    return Failure(worker.spec, reason, reason)
