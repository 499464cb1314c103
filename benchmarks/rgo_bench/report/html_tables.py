"""The tables of the page: the same cells as at the terminal, and more beside them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd
from markupsafe import Markup

from rgo_bench.paper.accuracies import OUR_CELLS, PAPER_CELLS
from rgo_bench.paper.tables import PAPER_TABLES
from rgo_bench.records import PHASES, Record
from rgo_bench.report.html import fill
from rgo_bench.report.timings import Environment
from rgo_bench.sheets import Grid, cost_cells, deviations
from rgo_bench.zoo.record import ZooRecord
from rgo_bench.zoo.table import zoo_sheet

# The first two are the paper's numbers, the others what ours differ by.
_BESIDE: Final = (*PAPER_CELLS.values(), deviations("bwt_deviations"))


def accuracy_tables(rows: pd.DataFrame) -> Markup:
    """Return the table of each stream of `rgo_bench.paper.accuracies.table_rows`.

    The paper's columns are left out where it has no number.
    """
    streams = rows.groupby("stream", sort=False)
    return Markup("").join(_accuracies(stream, own) for stream, own in streams)


def split_tables(records: Sequence[Record]) -> Markup:
    """Return the paper's Tables 2 and 3, each if there is a record of it; else empty.

    Records of other runs than the tables' are left out.
    """
    parts: list[Markup] = []
    for number in ("2", "3"):
        table = PAPER_TABLES[number]
        runs = {(spec.stream, spec.method, spec.variant) for spec in table.specs()}
        own = [r for r in records if (r.stream, r.method, r.variant) in runs]
        parts += map(_of_grid, table.sheet(own).grids if own else [])
    return Markup("").join(parts)


def zoo_table(records: Sequence[ZooRecord]) -> Markup:
    """Return the table of records that ``rgo-bench zoo`` wrote; at least one."""
    return _of_grid(zoo_sheet(records).grids[0])


def cost_tables(
    costs: Sequence[Mapping[str, Any]], environments: Sequence[Environment]
) -> Markup:
    """Return the table of everything that ``rgo-bench cost --out`` wrote.

    Every environment that the costs state is among `environments`, once.
    """
    return Markup("").join(_costs(cost, environments) for cost in costs)


def _accuracies(stream: str, rows: pd.DataFrame) -> Markup:
    stated = ("network", "backend")
    common = [name for name in stated if rows[name].nunique() == 1]
    apart = [name for name in stated if name not in common]
    parts = (OUR_CELLS.values(), _BESIDE[:2], _BESIDE[2:])
    cells = [
        (
            row.method,
            (row.variant, ", ".join(getattr(row, name) for name in apart)),
            row.agrees,
            *([text(row) for text in part] for part in parts),
        )
        for row in rows.itertuples()
    ]
    names = ", ".join(rows[name].iloc[0] for name in common)
    return fill("accuracy", stream, names, rows.paper_acc.notna().any(), cells)


def _of_grid(grid: Grid) -> Markup:
    rows = [
        # The last of the names may say whose row it is.
        (
            cells[0],
            [", ".join(filter(None, cells[1 : grid.names]))],
            "papers" if cells[grid.names - 1].startswith("paper") else "",
            cells[grid.names :],
        )
        for cells in grid.cells
    ]
    head = (grid.header[0], *grid.header[grid.names :])
    return fill("table", grid.title, grid.title, head, rows)


def _costs(cost: Mapping[str, Any], environments: Sequence[Environment]) -> Markup:
    first = f"÷ {cost['rows'][0]['method']}"
    options = ", ".join(f"{key}={value}" for key, value in cost["options"].items())
    caption = Markup('{}, side by side <span class="detail">{} </span>{}').format(
        cost["stream"], options, fill("link", environments.index(cost["environment"]))
    )
    rows = [
        (row["method"], (), "", (str(row["runs"]), *cost_cells(row)))
        for row in cost["rows"]
    ]
    head = ("method", "runs", "seconds", first, *PHASES, "MiB", first)
    return fill("table", f"cost on {cost['stream']}", caption, head, rows)
