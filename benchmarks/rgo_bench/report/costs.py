"""Costs that `rgo-bench cost` measured: methods in turn, on one machine."""

from collections.abc import Mapping, Sequence
from typing import Any

from rgo_bench.records import PHASES
from rgo_bench.report.environments import Environment, environment_link
from rgo_bench.report.html import Html, element, join, run_name, scroll_box


def cost_tables(
    costs: Sequence[Mapping[str, Any]], environments: Sequence[Environment]
) -> Html:
    """Return the table of every measurement.

    Parameters
    ----------
    costs : sequence of mapping
        What ``rgo-bench cost --out`` writes: stream, options, rows and environment.
    environments : sequence of mapping
        Each once, all of those that the costs state.
    """
    return join(_table(cost, environments) for cost in costs)


def _table(cost: Mapping[str, Any], environments: Sequence[Environment]) -> Html:
    first = cost["rows"][0]["method"]
    head = ("runs", "seconds", f"÷ {first}", *PHASES, "MiB", f"÷ {first}")
    options = ", ".join(f"{key}={value}" for key, value in cost["options"].items())
    link = environment_link(environments.index(cost["environment"]))
    title = f"{cost['stream']}, side by side "
    table = element(
        "table",
        element("caption", title, element("span", options, " ", class_="detail"), link),
        element(
            "thead",
            element("tr", *(element("th", t, scope="col") for t in ("method", *head))),
        ),
        element("tbody", *map(_row, cost["rows"])),
    )
    return scroll_box(f"cost on {cost['stream']}", table)


def _row(row: Mapping[str, Any]) -> Html:
    numbers = (
        str(row["runs"]),
        f"{row['total']:.1f}",
        f"{row['time_ratio']:.2f}",
        *(f"{row['seconds'][phase]:.1f}" for phase in PHASES),
        f"{row['peak']:.0f}",
        f"{row['memory_ratio']:.2f}",
    )
    return element(
        "tr", run_name(row["method"]), *(element("td", text) for text in numbers)
    )
