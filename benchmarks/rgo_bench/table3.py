"""The paper's Table 3: how well networks fit what they are trained on."""

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Final, NamedTuple

from rgo_bench.choices import SEEDS, chosen
from rgo_bench.grids import Grid, Sheet, decimal_text, spread_text
from rgo_bench.paper import PublishedFit, compared_networks, published_fits
from rgo_bench.records import Record
from rgo_bench.runs import Run, group_by_run
from rgo_bench.spec import Spec, make_spec, option_text
from rgo_bench.tables import Spread, spread_of

# The streams in the table's order, with what differs there from Table 1.
STREAMS: Final[dict[str, dict[str, Any]]] = {
    "split-cifar100": {"epochs": 20},
    "split-miniimagenet": {"epochs": 20, "lr": 0.01},
}

# Samples are fitted in 20 epochs, and their curvature fades: the default damping, which
# is absolute, protects too little then.
OPTIONS: Final[dict[str, dict[str, Any]]] = {"stl": {}, "rgo": {"relative": True}}

# What the titles say of them.
NOTE: Final = "RGO with " + ", ".join(
    f"{name}={option_text(value)}" for name, value in OPTIONS["rgo"].items()
)

_NAMES = ("network", "method", "whose")
_NUMBERS = ("seeds", "train", "test", "gap", "BWT", "Δ test")


class FitRow(NamedTuple):
    """One run; accuracies in percent."""

    run: Run
    seeds: int  # how many
    train: Spread | None  # None where a record does not tell it, here and of the gap
    test: Spread
    gap: Spread | None  # train less test
    bwt: Spread
    paper: PublishedFit | None


def table3_specs(
    *,
    seeds: Iterable[int] = SEEDS,
    streams: Iterable[str] | None = None,
    networks: Iterable[str] | None = None,
    data: Path | None = None,
) -> list[Spec]:
    """Return the runs of Table 3: STL and RGO on each network of each stream.

    RGO counts its damping relative to the curvature (``relative=True``).

    Parameters
    ----------
    seeds : iterable of int
        The paper's five by default.
    streams, networks : iterable of str, optional
        Only these; all that the table has where None.
    data : Path, optional
        The folder of the streams' data.

    Returns
    -------
    list of Spec
        All of one seed before those of the next. STL learns with ResNet-18 with and
        without batch normalisation: the paper's had it, RGO's does not.

    Raises
    ------
    ValueError
        If the table does not have such a stream or network.

    References
    ----------
    Liu and Liu, "Continual Learning with Recursive Gradient Optimization", ICLR 2022,
    Table 3.
    """
    cells = [
        (stream, method, network)
        for stream in chosen("stream", streams, STREAMS)
        for of_paper, method in published_fits(stream)
        for network in compared_networks(of_paper, method)
    ]
    kept = chosen("network", networks, [network for _, _, network in cells])
    return [
        make_spec(
            *(stream, method, seed, STREAMS[stream] | OPTIONS[method]),
            network=network,
            data=data,
        )
        for seed, (stream, method, network) in product(seeds, cells)
        if network in kept
    ]


def table3_rows(records: Iterable[Record]) -> list[FitRow]:
    """Return one row for each run, in the order of the paper.

    Parameters
    ----------
    records : iterable of Record
        Of the runs of `table3_specs`.

    Returns
    -------
    list of FitRow
    """
    rows = [_row(run, group) for run, group in group_by_run(records).items()]
    return sorted(rows, key=_place)


def table3_sheet(records: Iterable[Record]) -> Sheet:
    """Return Table 3, the paper's row below each of ours."""
    rows = table3_rows(records)
    streams = dict.fromkeys(row.run.stream for row in rows)
    return Sheet(
        [_grid(s, [row for row in rows if row.run.stream == s]) for s in streams],
        _lines(rows),
    )


def _row(run: Run, group: Sequence[Record]) -> FitRow:
    trains = [record.train_acc for record in group if record.train_acc is not None]
    train = gap = None
    if len(trains) == len(group):
        train = spread_of(trains)
        gap = spread_of(a - b.acc for a, b in zip(trains, group, strict=True))
    test = spread_of(record.acc for record in group)
    bwt = spread_of(record.bwt for record in group)
    return FitRow(run, len(group), train, test, gap, bwt, _published(run))


def _published(run: Run) -> PublishedFit | None:
    for (network, method), fit in published_fits(run.stream).items():
        if method == run.method and run.network in compared_networks(network, method):
            return fit
    return None


def _place(row: FitRow) -> tuple[int, int]:
    stream = row.run.stream
    cells = [
        (each, method)
        for network, method in published_fits(stream)
        for each in compared_networks(network, method)
    ]
    return list(STREAMS).index(stream), cells.index((row.run.network, row.run.method))


def _grid(stream: str, rows: Sequence[FitRow]) -> Grid:
    cells: list[tuple[str, ...]] = []
    for row in rows:
        cells.append(_ours(row))
        if row.paper is not None:
            cells.append((row.run.network, row.run.method, *_papers(row.paper)))
    title = f"{stream}, Table 3 ({NOTE})"
    return Grid(title, (*_NAMES, *_NUMBERS), cells, len(_NAMES))


def _ours(row: FitRow) -> tuple[str, ...]:
    spreads = (row.train, row.test, row.gap, row.bwt)
    difference = _test_difference(row)
    return (
        *(row.run.network, row.run.method, "ours", str(row.seeds)),
        *("" if s is None else spread_text(s, row.seeds) for s in spreads),
        "" if difference is None else decimal_text(difference, sign="+"),
    )


def _papers(fit: PublishedFit) -> tuple[str, ...]:
    bwt = ""
    if fit.bwt is not None and fit.bwt_std is not None:
        bwt = spread_text(Spread(fit.bwt, fit.bwt_std), len(SEEDS))
    return (
        *("paper", str(len(SEEDS))),
        spread_text(Spread(fit.train, fit.train_std), len(SEEDS)),
        spread_text(Spread(fit.test, fit.test_std), len(SEEDS)),
        decimal_text(fit.train - fit.test),
        *(bwt, ""),
    )


def _test_difference(row: FitRow) -> float | None:
    return None if row.paper is None else row.test.mean - row.paper.test


def _lines(rows: Sequence[FitRow]) -> list[tuple[object, ...]]:
    measures = ("train", "test", "gap", "bwt")
    header = (
        *(*Run._fields, "seeds"),
        *(name + kind for name in measures for kind in ("", "_std")),
        *(f"paper_{name}" for name in PublishedFit._fields),
        "test_difference",
    )
    return [header, *map(_line, rows)]


def _line(row: FitRow) -> tuple[object, ...]:
    missing = (None, None)
    return (
        *(*row.run, row.seeds, *(row.train or missing), *row.test),
        *(*(row.gap or missing), *row.bwt),
        *(row.paper or [None] * len(PublishedFit._fields)),
        _test_difference(row),
    )
