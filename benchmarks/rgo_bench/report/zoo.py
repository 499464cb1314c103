"""The models of the zoo."""

from collections.abc import Sequence

from rgo_bench.report.html import Html, element, minus, run_name, scroll_box
from rgo_bench.zoo.record import ZooRecord
from rgo_bench.zoo.table import SHOWN, TITLE, ZooRow, shown_cells, zoo_rows


def zoo_table(records: Sequence[ZooRecord]) -> Html:
    """Return the table of records that ``rgo-bench zoo`` wrote.

    Parameters
    ----------
    records : sequence of ZooRecord
        At least one.
    """
    head = ("model", *SHOWN)
    table = element(
        "table",
        element("caption", TITLE),
        element("thead", element("tr", *(element("th", t, scope="col") for t in head))),
        element("tbody", *map(_row, zoo_rows(records))),
    )
    return scroll_box(TITLE, table)


def _row(row: ZooRow) -> Html:
    name = run_name(row.model, ", ".join(filter(None, (row.method, row.variant))))
    return element(
        "tr", name, *(element("td", minus(text)) for text in shown_cells(row))
    )
