"""The page: its sections and their words."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import chain
from pathlib import Path
from string import Template
from typing import Any, NamedTuple, TypeAlias

from rgo_bench.paper.published import PUBLISHED_NETWORKS
from rgo_bench.records import Record, replace_file
from rgo_bench.records.groups import Run, group_by_run
from rgo_bench.report.accuracy import accuracy_tables
from rgo_bench.report.commands import command_list
from rgo_bench.report.costs import cost_tables
from rgo_bench.report.environments import distinct_environments, environment_cards
from rgo_bench.report.evolution import evolution_figures
from rgo_bench.report.heat_maps import heat_maps
from rgo_bench.report.html import Html, element, join
from rgo_bench.report.split_tables import split_tables
from rgo_bench.report.tables import table_rows
from rgo_bench.report.timings import LEARNING, timing_tables
from rgo_bench.report.zoo import zoo_table
from rgo_bench.zoo.record import ZooRecord

TITLE = "Recursive Gradient Optimization: what our runs show"

Costs: TypeAlias = Sequence[Mapping[str, Any]]


class Section(NamedTuple):
    """A part of the page."""

    name: str
    words: str
    content: Html


def write_report(
    records: Sequence[Record],
    path: Path,
    costs: Costs = (),
    zoo: Sequence[ZooRecord] = (),
) -> None:
    """Write the page of `report_html`, whole or not at all.

    Parameters
    ----------
    records : sequence of Record
        At least one.
    path : Path
        The file.
    costs, zoo : sequence
        As in `report_html`.

    Raises
    ------
    ValueError
        If there is no record, or a run's records state different configurations.
    OSError
        If the file cannot be written.
    """
    replace_file(path, report_html(records, costs, zoo).encode())


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
    sections = _sections(groups, costs, zoo)
    here = files("rgo_bench.report")
    return Template(here.joinpath("page.html").read_text("utf-8")).substitute(
        title=TITLE,
        style=here.joinpath("page.css").read_text("utf-8"),
        lead=_lead(groups),
        contents=join(
            element("li", element("a", section.name, href=f"#{_anchor(section)}"))
            for section in sections
        ),
        sections="\n".join(map(_section, sections)),
    )


def _sections(
    groups: Mapping[Run, list[Record]], costs: Costs, zoo: Sequence[ZooRecord]
) -> list[Section]:
    records = list(chain.from_iterable(groups.values()))
    rows = {row.run: row for row in table_rows(records)}
    ordered = [rows[run] for run in groups]
    accuracy = _ACCURACY + (_COMPARED if any(row.paper for row in ordered) else "")
    evolution = _EVOLUTION + (_NOT_DRAWN if any(run.variant for run in groups) else "")
    environments = distinct_environments(
        chain(
            (r.environment for r in records),
            (cost["environment"] for cost in costs),
            (r.environment for r in zoo),
        )
    )
    split = split_tables(records)
    times = (cost_tables(costs, environments), timing_tables(groups, environments))
    return [
        Section("Accuracy", accuracy, accuracy_tables(ordered)),
        *([Section("Tables 2 and 3", _SPLIT, split)] if split else []),
        *([Section("Zoo", _ZOO, zoo_table(zoo))] if zoo else []),
        Section("Figure 1", evolution, evolution_figures(records)),
        Section("What is kept", _HEAT_MAPS, heat_maps(groups)),
        Section("Time", _TIME + (_COSTS if costs else ""), join([_legend(), *times])),
        Section("Commands", _COMMANDS, command_list(groups)),
        Section("Environments", _ENVIRONMENTS, environment_cards(environments)),
    ]


def _paper_first(groups: Mapping[Run, list[Record]]) -> dict[Run, list[Record]]:
    """Put the paper's streams before others."""
    streams = list(PUBLISHED_NETWORKS)

    def place(run: Run) -> int:
        return streams.index(run.stream) if run.stream in streams else len(streams)

    return {run: groups[run] for run in sorted(groups, key=place)}


def _section(section: Section) -> Html:
    heading = element("h2", section.name)
    words = element("p", section.words, class_="note")
    return element("section", heading, words, section.content, id=_anchor(section))


def _anchor(section: Section) -> str:
    return section.name.lower().replace(" ", "-")


def _lead(groups: Mapping[Run, list[Record]]) -> Html:
    runs = sum(map(len, groups.values()))
    methods = len({run.method for run in groups})
    streams = len({run.stream for run in groups})
    return join(
        [
            f"{_count(runs, 'run')} of {_count(methods, 'method')} on "
            f"{_count(streams, 'stream')} of tasks. Each learns the tasks one after "
            "another and is tested on all of them: ",
            element("strong", "ACC"),
            " is the mean accuracy after the last task, ",
            element("strong", "BWT"),
            " the mean change since each task was learned, both in percent.",
        ]
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _legend() -> Html:
    parts = ((element("span", class_=f"key {phase}"), phase) for phase in LEARNING)
    return element("p", *chain.from_iterable(parts), class_="legend detail")


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
