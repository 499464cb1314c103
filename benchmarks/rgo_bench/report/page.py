"""The page: its sections and their words."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

from markupsafe import Markup

from rgo_bench.paper.published import PUBLISHED_NETWORKS
from rgo_bench.records import Record
from rgo_bench.records.groups import Run, group_by_run
from rgo_bench.report.commands import command_list
from rgo_bench.report.evolution import evolution_figures
from rgo_bench.report.heat_maps import heat_maps
from rgo_bench.report.html import fill, template
from rgo_bench.report.html_tables import (
    accuracy_tables,
    cost_tables,
    split_tables,
    zoo_table,
)
from rgo_bench.report.tables import table_rows
from rgo_bench.report.timings import (
    LEARNING,
    distinct_environments,
    timing_tables,
)
from rgo_bench.zoo.record import ZooRecord

TITLE = "Recursive Gradient Optimization: what our runs show"

Costs: TypeAlias = Sequence[Mapping[str, Any]]


class Section(NamedTuple):
    """A part of the page."""

    name: str
    words: str
    content: Markup

    @property
    def anchor(self) -> str:
        """What links to it name."""
        return self.name.lower().replace(" ", "-")


def report_html(
    records: Sequence[Record], costs: Costs = (), zoo: Sequence[ZooRecord] = ()
) -> str:
    """Return a page that shows all records and needs no network.

    Parameters
    ----------
    records : sequence of Record
        At least one.
    costs : sequence of mapping
        What ``rgo-bench cost --out`` wrote: times and memory measured side by side.
    zoo : sequence of ZooRecord
        What ``rgo-bench zoo`` recorded.

    Returns
    -------
    str
        HTML: tables beside the paper's, Figure 1, accuracy matrices, times, commands
        and environments. The same records make the same page.

    Raises
    ------
    ValueError
        If there is no record, or a run's records state different configurations.
    """
    if not records:
        raise ValueError("records: expected at least one to report, got none")
    groups = _paper_first(group_by_run(records))
    lead = {
        "runs": _count(sum(map(len, groups.values())), "run"),
        "methods": _count(len({run.method for run in groups}), "method"),
        "streams": _count(len({run.stream for run in groups}), "stream"),
    }
    sections = _sections(groups, costs, zoo)
    return template("page.html").render(title=TITLE, lead=lead, sections=sections)


def _sections(
    groups: Mapping[Run, list[Record]], costs: Costs, zoo: Sequence[ZooRecord]
) -> list[Section]:
    records = list(chain.from_iterable(groups.values()))
    rows = table_rows(records)
    rows = rows.iloc[rows.run.map(_place).argsort(kind="stable")]
    accuracy = _ACCURACY + (_COMPARED if rows.paper_acc.notna().any() else "")
    evolution = _EVOLUTION + (_NOT_DRAWN if any(rows.variant) else "")
    environments = distinct_environments(
        chain(
            (r.environment for r in records),
            (cost["environment"] for cost in costs),
            (r.environment for r in zoo),
        )
    )
    split = split_tables(records)
    times = (cost_tables(costs, environments), timing_tables(groups, environments))
    legend = fill("legend", LEARNING)
    return [
        Section("Accuracy", accuracy, accuracy_tables(rows)),
        *([Section("Tables 2 and 3", _SPLIT, split)] if split else []),
        *([Section("Zoo", _ZOO, zoo_table(zoo))] if zoo else []),
        Section("Figure 1", evolution, evolution_figures(records)),
        Section("What is kept", _HEAT_MAPS, heat_maps(groups)),
        Section(
            "Time", _TIME + (_COSTS if costs else ""), Markup("").join([legend, *times])
        ),
        Section("Commands", _COMMANDS, command_list(groups)),
        Section("Environments", _ENVIRONMENTS, fill("environments", environments)),
    ]


def _paper_first(groups: Mapping[Run, list[Record]]) -> dict[Run, list[Record]]:
    """Put the paper's streams before others."""
    return {run: groups[run] for run in sorted(groups, key=_place)}


def _place(run: Run) -> int:
    streams = list(PUBLISHED_NETWORKS)
    return streams.index(run.stream) if run.stream in streams else len(streams)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


_ACCURACY = "Mean ± standard deviation over the seeds, in percent. "
_COMPARED = (
    "Paper: Liu and Liu, ICLR 2022, Table 1, five seeds. Differences are ours less the "
    "paper's, in points and in the paper's standard deviations (σ); it prints some of "
    "these as 0.01, against which every difference is large. ✓: ACC agrees within 2 σ "
    "or one point, whichever is more."
)
_SPLIT = (
    "Paper: Tables 2 and 3, five seeds; our row stands first. Table 2 is what RGO "
    "gains over learning every task alone: in points, as the paper counts it, and as a "
    "quotient. In Table 3 the gap is the accuracy on training samples less that on "
    "test samples. Differences (Δ) are ours less the paper's, in points."
)
_ZOO = (
    "Small models of the kinds that people train, each on three tasks with one head "
    "and no replay. Protected is the share of the parameters that RGO projects; "
    "learned the mean accuracy on a task when it was learned; language models are "
    "tested by the next byte, the U-Net by the pixels of the digits. Time, of training "
    "and consolidating, is over the plain optimizer's on the same model; memory is "
    "what was held beyond it."
)
_EVOLUTION = (
    "Average accuracy over the tasks seen so far: mean over the seeds, in a band of "
    "one standard deviation. "
)
_NOT_DRAWN = "Runs with changed options are not drawn where others are."
_HEAT_MAPS = (
    "Every row is the network after one more task, from the top down; every column a "
    "task, from the first on the left. Mean over the seeds, one scale for all. A "
    "column that darkens downward is a task being forgotten. Below each: the mean "
    "accuracy when learned → at the end."
)
_TIME = (
    "Seconds of the fastest seed: other work on a machine only ever adds to them, so "
    "small differences mean nothing. Learning is everything but the tests, which "
    "belong to the experiment. Ratios to SGD are given only within one environment, "
    "stream and set of stream options. "
)
_COSTS = (
    "Side by side: whole runs of the methods in turn, each in a process of its own; "
    "medians, and the most memory that the process held."
)
_COMMANDS = "Each line makes the records of one row again; finished runs are not rerun."
_ENVIRONMENTS = "What the runs ran on."
