"""How long every phase of the runs took."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple, TypeAlias

from markupsafe import Markup

from rgo_bench.records import PHASES, Record
from rgo_bench.records.groups import Run
from rgo_bench.report.html import fill

Environment: TypeAlias = Mapping[str, Any]

LEARNING = PHASES[:-1]  # all but the tests, which the experiment wants, not the method
BASELINE = "sgd"


class Timing(NamedTuple):
    """The time of one run in one environment."""

    run: Run
    environment: int  # its place among the distinct ones
    config: Mapping[str, object]
    seeds: int
    seconds: Mapping[str, float]  # of the fastest seed, by phase
    learning: float  # its seconds of everything but the tests


def distinct_environments(environments: Iterable[Environment]) -> list[Environment]:
    """Return every environment once, in order of appearance."""
    found: list[Environment] = []
    for environment in environments:
        if environment not in found:
            found.append(environment)
    return found


def timings(
    groups: Mapping[Run, Sequence[Record]], environments: Sequence[Environment]
) -> list[Timing]:
    """Return the time of every run, apart for every environment it ran in.

    It is that of the fastest seed: other work on a machine only ever adds to it. Those
    of a stream and an environment come beside each other.
    """
    found = []
    for run, group in groups.items():
        for number, environment in enumerate(environments):
            own = [each for each in group if each.environment == environment]
            if own:
                fastest = min((each.seconds for each in own), key=_learning)
                times = (fastest, _learning(fastest))
                found.append(Timing(run, number, own[0].config, len(own), *times))
    streams = list(dict.fromkeys(run.stream for run in groups))
    return sorted(found, key=lambda t: (streams.index(t.run.stream), t.environment))


def relative_time(timing: Timing, others: Iterable[Timing]) -> float | None:
    """Return how many times as long as SGD's the learning took.

    None unless SGD ran on the same stream with the same options, network, backend and
    environment.
    """
    for other in others:
        same_run = other.run._replace(variant="") == timing.run._replace(
            method=BASELINE, variant=""
        )
        same_options = other.config.items() <= timing.config.items()
        same_place = other.environment == timing.environment
        if same_run and same_options and same_place and other.learning:
            return timing.learning / other.learning
    return None


def timing_tables(
    groups: Mapping[Run, Sequence[Record]], environments: Sequence[Environment]
) -> Markup:
    """Return a table of `timings` for every stream and environment."""
    rows = timings(groups, environments)
    tables = groupby(rows, key=lambda timing: (timing.run.stream, timing.environment))
    return Markup("").join(_table(*key, list(own)) for key, own in tables)


def _learning(seconds: Mapping[str, float]) -> float:
    return sum(seconds[phase] for phase in LEARNING)


def _table(stream: str, environment: int, rows: list[Timing]) -> Markup:
    longest = max(row.learning for row in rows) or 1.0
    shown = []
    for row in rows:
        seconds = (*(row.seconds[phase] for phase in PHASES), row.learning)
        ratio = relative_time(row, rows)
        over = "" if ratio is None else f"{ratio:.2f}"
        parts = [(phase, 100 * row.seconds[phase] / longest) for phase in LEARNING]
        shown.append((row, (row.seeds, *(f"{s:.1f}" for s in seconds), over), parts))
    return fill("times", stream, environment, BASELINE, PHASES, LEARNING, shown)
