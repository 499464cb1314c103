"""The page: what its sections are made of; their words are in the template."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from markupsafe import Markup

from rgo_bench.paper.accuracies import paper_order, table_rows
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
from rgo_bench.report.timings import LEARNING, distinct_environments, timing_tables
from rgo_bench.zoo.record import ZooRecord


def report_html(
    records: Sequence[Record],
    costs: Sequence[Mapping[str, Any]] = (),
    zoo: Sequence[ZooRecord] = (),
) -> str:
    """Return a page (HTML) that shows all records and needs no network.

    The costs are what ``rgo-bench cost --out`` wrote. The same records make the same
    page.
    """
    if not records:
        raise ValueError("records: expected at least one to report, got none")
    groups = group_by_run(records)
    groups = {run: groups[run] for run in sorted(groups, key=_place)}
    rows = table_rows(records).sort_values("run", key=lambda runs: runs.map(_place))
    by_run = list(chain.from_iterable(groups.values()))
    environments = distinct_environments(
        [each.environment for each in by_run]
        + [cost["environment"] for cost in costs]
        + [each.environment for each in zoo]
    )
    times = (cost_tables(costs, environments), timing_tables(groups, environments))
    sections = {
        "Accuracy": accuracy_tables(rows),
        "Tables 2 and 3": split_tables(by_run),
        "Zoo": zoo_table(zoo) if zoo else "",
        "Figure 1": evolution_figures(by_run),
        "What is kept": heat_maps(groups),
        "Time": Markup("").join([fill("legend", LEARNING), *times]),
        "Commands": command_list(groups),
        "Environments": fill("environments", environments),
    }
    return template("page.html").render(
        runs=len(records),
        methods=len({run.method for run in groups}),
        streams=len({run.stream for run in groups}),
        sections={name: content for name, content in sections.items() if content},
        compared=rows.paper_acc.notna().any(),
        varied=any(rows.variant),
        costs=costs,
    )


def _place(run: Run) -> tuple[bool, tuple[str, int, Run]]:
    """Put the paper's streams, in the order of their names, before others."""
    return run.stream not in PUBLISHED_NETWORKS, paper_order(run)
