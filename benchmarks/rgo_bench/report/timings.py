"""How long every phase of the runs took."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from rgo_bench.records import PHASES, Record
from rgo_bench.records.groups import Run
from rgo_bench.report.environments import Environment, environment_link
from rgo_bench.report.html import Html, element, join, run_name, scroll_box

LEARNING = PHASES[:-1]  # all but the tests, which the experiment wants, not the method
BASELINE = "sgd"


class Timing(NamedTuple):
    """The time of one run in one environment."""

    run: Run
    environment: int  # its place among the distinct ones
    config: Mapping[str, object]
    seeds: int
    seconds: Mapping[str, float]  # of the fastest seed

    @property
    def learning(self) -> float:
        """The seconds of everything but the tests."""
        return _learning(self.seconds)


def timings(
    groups: Mapping[Run, Sequence[Record]], environments: Sequence[Environment]
) -> list[Timing]:
    """Return the time of every run, apart for every environment it ran in.

    It is that of the fastest seed: other work on a machine only ever adds to it.

    Parameters
    ----------
    groups : mapping
        The records of each run.
    environments : sequence of mapping
        Each once, all of those that the records state.

    Returns
    -------
    list of Timing
        Those of a stream and an environment beside each other.
    """
    found = []
    for run, group in groups.items():
        for number, environment in enumerate(environments):
            own = [each for each in group if each.environment == environment]
            if own:
                least = min((each.seconds for each in own), key=_learning)
                found.append(Timing(run, number, own[0].config, len(own), least))
    streams = list(dict.fromkeys(run.stream for run in groups))
    return sorted(found, key=lambda t: (streams.index(t.run.stream), t.environment))


def relative_time(timing: Timing, others: Iterable[Timing]) -> float | None:
    """Return how many times as long as SGD's the learning took.

    Parameters
    ----------
    timing : Timing
    others : iterable of Timing

    Returns
    -------
    float or None
        None unless SGD ran on the same stream with the same options, network, backend
        and environment.
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
) -> Html:
    """Return a table for every stream and environment.

    Parameters
    ----------
    groups : mapping
        The records of each run.
    environments : sequence of mapping
        Each once, all of those that the records state.
    """
    rows = timings(groups, environments)
    tables = groupby(rows, key=lambda timing: (timing.run.stream, timing.environment))
    return join(_table(*key, list(own)) for key, own in tables)


def _learning(seconds: Mapping[str, float]) -> float:
    return sum(seconds[phase] for phase in LEARNING)


def _table(stream: str, environment: int, rows: list[Timing]) -> Html:
    longest = max(row.learning for row in rows) or 1.0
    head = ("seeds", *PHASES, "learning", f"÷ {BASELINE}", "")
    table = element(
        "table",
        element("caption", stream, " ", environment_link(environment)),
        element(
            "thead",
            element(
                "tr",
                element("th", "method", scope="col"),
                *(_head(text) for text in head),
            ),
        ),
        element("tbody", *(_row(row, rows, longest) for row in rows)),
    )
    return scroll_box(f"seconds on {stream}", table)


def _head(text: str) -> Html:
    if not text:
        bar = element("span", "share of each phase", class_="unseen")
        return element("th", bar, scope="col", class_="bar")
    return element("th", text, scope="col")


def _row(row: Timing, rows: list[Timing], longest: float) -> Html:
    ratio = relative_time(row, rows)
    return element(
        "tr",
        run_name(row.run.method, *filter(None, [row.run.variant])),
        element("td", str(row.seeds)),
        *(element("td", f"{row.seconds[phase]:.1f}") for phase in PHASES),
        element("td", f"{row.learning:.1f}"),
        element("td", "" if ratio is None else f"{ratio:.2f}"),
        element("td", _bar(row, longest), class_="bar"),
    )


def _bar(row: Timing, longest: float) -> Html:
    parts = (
        element(
            "span",
            class_=f"part {phase}",
            style=f"width:{100 * row.seconds[phase] / longest:.2f}%",
            title=f"{phase}: {row.seconds[phase]:.1f} s",
        )
        for phase in LEARNING
    )
    return element("div", *parts, class_="parts", aria_hidden="true")
