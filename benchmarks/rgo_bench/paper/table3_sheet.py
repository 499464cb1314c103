"""How Table 3 is shown: every network with what was run, then the runs one by one."""

from collections.abc import Iterable
from typing import Any, Final

import pandas as pd

from rgo_bench.paper.choices import SEEDS
from rgo_bench.paper.published import own_network, published_fits
from rgo_bench.paper.table3 import (
    NOTE,
    OUR_FORM,
    PAPERS,
    PAPERS_FORM,
    STREAMS,
    table3_rows,
)
from rgo_bench.records import Record
from rgo_bench.records.frame import RUN
from rgo_bench.report.sheets import Cell, Grid, Sheet, decimal_text, signed, spread

NOT_RUN: Final = "not run"
_OVERVIEW: Final = (
    *("network", "whose", "STL own", "STL RGO's"),
    *("RGO paper's", "BWT", "RGO ours", "BWT"),
)
_NAMES: Final = ("network", "method", "form")
_OURS: Final[dict[str, Cell]] = {
    "seeds": lambda row: str(row.seeds),
    **{name: spread(name) for name in ("train", "test", "gap")},
    "BWT": spread("bwt"),
    "Δ test": signed("test_difference"),
}
_PAPERS: Final[dict[str, Cell]] = {
    "seeds": lambda row: str(len(SEEDS)),
    "train": spread("paper_train", seeds=len(SEEDS)),
    "test": spread("paper_test", seeds=len(SEEDS)),
    "gap": lambda row: decimal_text(row.paper_train - row.paper_test),
    "BWT": spread("paper_bwt", seeds=len(SEEDS)),
    "Δ test": lambda row: "",
}
_COLUMNS: Final = [
    *(*RUN, "form", "seeds", "train", "train_std", "test", "test_std"),
    *("gap", "gap_std", "bwt", "bwt_std", *PAPERS, "test_difference"),
]


def table3_sheet(records: Iterable[Record]) -> Sheet:
    """Return Table 3.

    First a grid for each stream, of all networks of the paper: the accuracy on test
    samples of STL with its own network and with RGO's, and of RGO in the paper's form
    and in ours, then the paper's, then the difference; what there is no record of is
    `NOT_RUN`. Then the runs that there are, the paper's row below each.
    """
    rows = table3_rows(records)
    grids = [_overview(stream, rows[rows.stream == stream]) for stream in STREAMS]
    grids += [_runs(stream, own) for stream, own in rows.groupby("stream", sort=False)]
    return Sheet(grids, rows[_COLUMNS])


def _overview(stream: str, rows: pd.DataFrame) -> Grid:
    found = {(r.network, r.method, r.form): r for r in rows.itertuples()}
    networks = dict.fromkeys(network for network, _ in published_fits(stream))
    cells = [line for name in networks for line in _of_network(stream, name, found)]
    title = f"{stream}, Table 3: STL with its own network and with RGO's"
    return Grid(title, _OVERVIEW, cells, 2)


def _of_network(
    stream: str, network: str, found: dict[tuple[str, str, str], Any]
) -> list[tuple[str, ...]]:
    """Return ours, the paper's and the difference."""
    apart = found.get((own_network(network, "stl"), "stl", ""))
    forms = [found.get((network, "rgo", form)) for form in (PAPERS_FORM, OUR_FORM)]
    ours = [_test(apart), _test(found.get((network, "stl", "")))]
    difference = ["" if apart is None else signed("test_difference")(apart), ""]
    for row in forms:
        ours += [_test(row), "" if row is None else spread("bwt")(row)]
        difference += ["", ""] if row is None else _differences(row)
    stl, rgo = (
        pd.Series(
            published_fits(stream)[network, method]._asdict(), dtype=float
        ).add_prefix("paper_")
        for method in ("stl", "rgo")
    )
    printed = (
        _PAPERS["test"](stl),
        "",
        *(_PAPERS["test"](rgo), _PAPERS["BWT"](rgo)) * 2,
    )
    cells = [
        (network, "ours", *ours),
        (network, "paper", *printed),
        (network, "Δ", *difference),
    ]
    return cells if any(difference) else cells[:2]


def _test(row: Any) -> str:
    return NOT_RUN if row is None else spread("test")(row)


def _differences(row: Any) -> list[str]:
    bwt = row.bwt - row.paper_bwt
    return [decimal_text(each, sign="+") for each in (row.test_difference, bwt)]


def _runs(stream: str, rows: pd.DataFrame) -> Grid:
    cells: list[tuple[str, ...]] = []
    for row in rows.itertuples():
        names = tuple(getattr(row, name) for name in _NAMES)
        cells.append((*names, "ours", *(text(row) for text in _OURS.values())))
        if row.paper_test == row.paper_test:  # NaN where the paper has none
            cells.append((*names, "paper", *(text(row) for text in _PAPERS.values())))
    title = f"{stream}, Table 3 ({NOTE})"
    return Grid(title, (*_NAMES, "whose", *_OURS), cells, len(_NAMES) + 1)
