"""The paper's Tables 2 and 3, ours beside the paper's."""

from collections.abc import Sequence
from typing import Final

from rgo_bench.paper.tables import PAPER_TABLES
from rgo_bench.records import Record
from rgo_bench.report.grids import Grid
from rgo_bench.report.html import Html, element, join, minus, run_name, scroll_box

NUMBERS: Final = ("2", "3")


def split_tables(records: Sequence[Record]) -> Html:
    """Return each of the two tables of which there is a record; empty without.

    Parameters
    ----------
    records : sequence of Record
        Any; those of other runs than the tables' are left out.
    """
    parts = []
    for number in NUMBERS:
        own = _records_of(number, records)
        if own:
            parts += [_table(grid) for grid in PAPER_TABLES[number].sheet(own).grids]
    return join(parts)


def _records_of(number: str, records: Sequence[Record]) -> list[Record]:
    specs = PAPER_TABLES[number].specs()
    runs = {(spec.stream, spec.method, spec.variant) for spec in specs}
    return [r for r in records if (r.stream, r.method, r.variant) in runs]


def _table(grid: Grid) -> Html:
    first, *_ = grid.header
    numbers = grid.header[grid.names :]
    table = element(
        "table",
        element("caption", grid.title),
        element(
            "thead",
            element(
                "tr", *(element("th", text, scope="col") for text in (first, *numbers))
            ),
        ),
        element("tbody", *(_row(cells, grid.names) for cells in grid.cells)),
    )
    return scroll_box(grid.title, table)


def _row(cells: Sequence[str], names: int) -> Html:
    # The last of the names may say whose row it is.
    kind = {"class_": "papers"} if cells[names - 1].startswith("paper") else {}
    head = run_name(cells[0], ", ".join(cells[1:names]))
    numbers = (element("td", minus(text), **kind) for text in cells[names:])
    return element("tr", head, *numbers)
