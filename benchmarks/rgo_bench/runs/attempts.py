"""A run in this process that may fail, and what came of it."""

import importlib
import os
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from rgo_bench.records import Record, record_path
from rgo_bench.runs.reporter import Reporter
from rgo_bench.runs.run import run
from rgo_bench.runs.spec import Spec
from rgo_bench.runs.threads import limit_threads


class Failure(NamedTuple):
    """A run that did not end well."""

    spec: Spec
    reason: str  # one line
    details: str  # the traceback


class Outcome(NamedTuple):
    """What came of several runs."""

    records: list[Record]
    failures: list[Failure]

    @classmethod
    def of(cls, results: Mapping[int, Record | Failure]) -> Self:
        """Put results in the order of their places."""
        ordered = [results[place] for place in sorted(results)]
        return cls(
            [result for result in ordered if isinstance(result, Record)],
            [result for result in ordered if isinstance(result, Failure)],
        )


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How every run is run."""

    out: Path
    device: str = "cpu"
    threads: int = 1
    compiled: bool = False
    force: bool = False
    plugins: tuple[str, ...] = ()  # modules that register what a run names


def unrecorded(specs: Sequence[Spec], manner: Manner) -> list[Spec]:
    """Return those of `specs` without a record in the folder; all, if forced."""
    return [
        spec
        for spec in specs
        if manner.force or not record_path(manner.out, spec).exists()
    ]


def import_plugins(names: Iterable[str]) -> None:
    """Import modules that register what a run names, from the working folder too."""
    for name in names:
        if name.endswith(".py") or "/" in name or os.sep in name:
            raise ValueError(
                "--plugin: expected the name of a module, as l2 for l2.py in the "
                f"working folder, got the path {name!r}"
            )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    for name in names:
        importlib.import_module(name)


def run_here(spec: Spec, manner: Manner, reporter: Reporter) -> Record:
    """Run one spec in this process; see `rgo_bench.runs.run.run` for what it raises."""
    limit_threads(manner.threads, spec.backend)
    return run(
        spec,
        manner.out,
        device=manner.device,
        compiled=manner.compiled,
        force=manner.force,
        reporter=reporter,
    )


def attempt(spec: Spec, manner: Manner, reporter: Reporter) -> Record | Failure:
    """Run one spec in this process, and return what came of it, whatever it is."""
    try:
        return run_here(spec, manner, reporter)
    except Exception as error:  # whatever it is: the other runs go on
        reason = f"{type(error).__name__}: {error}"
        return Failure(spec, reason, traceback.format_exc())
