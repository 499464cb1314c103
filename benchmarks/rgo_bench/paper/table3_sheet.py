"""How Table 3 is shown: every network with what was run, then the runs one by one."""

from collections.abc import Iterable, Sequence
from typing import Final

from rgo_bench.paper.choices import SEEDS
from rgo_bench.paper.published import PublishedFit, own_network, published_fits
from rgo_bench.paper.table3 import (
    NOTE,
    OUR_FORM,
    PAPERS_FORM,
    STREAMS,
    FitRow,
    table3_rows,
)
from rgo_bench.records import Record
from rgo_bench.records.groups import Run
from rgo_bench.report.grids import Grid, Sheet, decimal_text, spread_text
from rgo_bench.report.tables import Spread

NOT_RUN: Final = "not run"
_OVERVIEW: Final = (
    *("network", "whose", "STL own", "STL RGO's"),
    *("RGO paper's", "BWT", "RGO ours", "BWT"),
)
_NAMES: Final = ("network", "method", "form", "whose")
_NUMBERS: Final = ("seeds", "train", "test", "gap", "BWT", "Δ test")


def table3_sheet(records: Iterable[Record]) -> Sheet:
    """Return Table 3.

    First a grid for each stream, of all networks of the paper: the accuracy on test
    samples of STL with its own network and with RGO's, and of RGO in both forms, then
    the paper's, then the difference; what there is no record of is `NOT_RUN`. Then the
    runs that there are, the paper's row below each.
    """
    rows = table3_rows(records)
    streams = dict.fromkeys(row.run.stream for row in rows)
    return Sheet(
        [
            *(_overview(stream, rows) for stream in STREAMS),
            *(_grid(s, [row for row in rows if row.run.stream == s]) for s in streams),
        ],
        _lines(rows),
    )


def _overview(stream: str, rows: Sequence[FitRow]) -> Grid:
    fits = published_fits(stream)
    own = [row for row in rows if row.run.stream == stream]
    cells = [
        cells
        for network in dict.fromkeys(network for network, _ in fits)
        for cells in _of_network(
            network, own, fits[network, "stl"], fits[network, "rgo"]
        )
    ]
    title = f"{stream}, Table 3: STL with its own network and with RGO's"
    return Grid(title, _OVERVIEW, cells, 2)


def _of_network(
    network: str, rows: Sequence[FitRow], stl: PublishedFit, rgo: PublishedFit
) -> list[tuple[str, ...]]:
    """Return ours, the paper's and the difference."""
    apart = _find(rows, own_network(network, "stl"), "stl", "")
    equal = _find(rows, network, "stl", "")
    forms = [_find(rows, network, "rgo", form) for form in (PAPERS_FORM, OUR_FORM)]
    ours = [_test(apart), _test(equal)]
    difference = ["" if apart is None else _signed(apart.test.mean - stl.test), ""]
    for form in forms:
        ours += [_test(form), "" if form is None else spread_text(form.bwt, form.seeds)]
        difference += _differences(form, rgo)
    printed = spread_text(Spread(stl.test, stl.test_std), len(SEEDS))
    of_rgo = spread_text(Spread(rgo.test, rgo.test_std), len(SEEDS))
    cells = [
        (network, "ours", *ours),
        (network, "paper", printed, "", *(of_rgo, _bwt(rgo)) * 2),
        (network, "Δ", *difference),
    ]
    return cells if any(difference) else cells[:2]


def _find(
    rows: Sequence[FitRow], network: str, method: str, form: str
) -> FitRow | None:
    for row in rows:
        if (row.run.network, row.run.method, row.form) == (network, method, form):
            return row
    return None


def _test(row: FitRow | None) -> str:
    return NOT_RUN if row is None else spread_text(row.test, row.seeds)


def _differences(row: FitRow | None, fit: PublishedFit) -> list[str]:
    if row is None or fit.bwt is None:
        return ["", ""]
    return [_signed(row.test.mean - fit.test), _signed(row.bwt.mean - fit.bwt)]


def _signed(value: float) -> str:
    return decimal_text(value, sign="+")


def _grid(stream: str, rows: Sequence[FitRow]) -> Grid:
    cells: list[tuple[str, ...]] = []
    for row in rows:
        names = (row.run.network, row.run.method, row.form)
        cells.append((*names, "ours", *_ours(row)))
        if row.paper is not None:
            cells.append((*names, "paper", *_papers(row.paper)))
    title = f"{stream}, Table 3 ({NOTE})"
    return Grid(title, (*_NAMES, *_NUMBERS), cells, len(_NAMES))


def _ours(row: FitRow) -> tuple[str, ...]:
    spreads = (row.train, row.test, row.gap, row.bwt)
    difference = row.test_difference
    return (
        str(row.seeds),
        *("" if s is None else spread_text(s, row.seeds) for s in spreads),
        "" if difference is None else _signed(difference),
    )


def _papers(fit: PublishedFit) -> tuple[str, ...]:
    return (
        str(len(SEEDS)),
        spread_text(Spread(fit.train, fit.train_std), len(SEEDS)),
        spread_text(Spread(fit.test, fit.test_std), len(SEEDS)),
        decimal_text(fit.train - fit.test),
        *(_bwt(fit), ""),
    )


def _bwt(fit: PublishedFit) -> str:
    if fit.bwt is None or fit.bwt_std is None:
        return ""
    return spread_text(Spread(fit.bwt, fit.bwt_std), len(SEEDS))


def _lines(rows: Sequence[FitRow]) -> list[tuple[object, ...]]:
    measures = ("train", "test", "gap", "bwt")
    header = (
        *(*Run._fields, "form", "seeds"),
        *(name + kind for name in measures for kind in ("", "_std")),
        *(f"paper_{name}" for name in PublishedFit._fields),
        "test_difference",
    )
    return [header, *map(_line, rows)]


def _line(row: FitRow) -> tuple[object, ...]:
    missing = (None, None)
    return (
        *(*row.run, row.form, row.seeds, *(row.train or missing), *row.test),
        *(*(row.gap or missing), *row.bwt),
        *(row.paper or [None] * len(PublishedFit._fields)),
        row.test_difference,
    )
