"""The cells of the tables as text, before any format."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

from rgo_bench.records import Record, variant_options
from rgo_bench.report.tables import Row, Spread, table_lines, table_rows

_STATED = ("network", "backend")  # by a variant too, where they are not the default
_OURS = ("seeds", "ACC", "BWT")
_PAPERS = ("paper ACC", "paper BWT", "Δ ACC", "Δ BWT")
_PAPERS_IN_DEVIATIONS = ("paper ACC", "paper BWT", "Δ ACC", "Δ/σ", "Δ BWT")


class Grid(NamedTuple):
    """A table as it is read, for instance that of one stream."""

    title: str
    header: tuple[str, ...]
    cells: list[tuple[str, ...]]  # as many to a row as the header has
    names: int  # the first columns, which hold names; all others hold numbers


class Sheet(NamedTuple):
    """Tables in both forms."""

    grids: list[Grid]  # to be read
    lines: list[tuple[object, ...]]  # for programs: a header, then plain values


def accuracy_sheet(records: Iterable[Record], *, deviations: bool = False) -> Sheet:
    """Return the accuracies of records beside the paper's Table 1; see `grids`."""
    rows = table_rows(records)
    return Sheet(grids(rows, deviations=deviations), table_lines(rows))


def grids(rows: Sequence[Row], *, deviations: bool = False) -> list[Grid]:
    """Return the table of each stream.

    A column of variant, network or backend is left out where it says the same in every
    row, or for network and backend what the variant says: what all other rows have then
    stands in the title. The paper's columns are left out
    where the paper has no number.

    Parameters
    ----------
    rows : sequence of Row
        The rows, those of a stream beside each other.
    deviations : bool
        Whether to state the difference in accuracy in standard deviations of the
        paper too; empty where the paper's is zero.

    Returns
    -------
    list of Grid
        One for each stream. Percent have two decimals; a spread is "mean ± std", or
        the mean alone for a single seed.
    """
    return [
        _grid(stream, list(group), deviations)
        for stream, group in groupby(rows, key=lambda row: row.run.stream)
    ]


def _grid(stream: str, rows: list[Row], deviations: bool) -> Grid:
    shown = ["variant"] if len({row.run.variant for row in rows}) > 1 else []
    common: list[str] = []
    for name in _STATED:
        untold = _unstated(rows, name)
        if len(untold) > 1:
            shown.append(name)
        else:
            common.extend(untold)
    papers: tuple[str, ...] = _PAPERS_IN_DEVIATIONS if deviations else _PAPERS
    if not any(row.paper for row in rows):
        papers = ()
    names = ("method", *shown)
    return Grid(
        title=f"{stream} ({', '.join(common)})" if common else stream,
        header=(*names, *_OURS, *papers),
        cells=[
            (
                *(getattr(row.run, name) for name in names),
                str(row.seeds),
                spread_text(row.acc, row.seeds),
                spread_text(row.bwt, row.seeds),
                *(_comparison(row).get(name, "") for name in papers),
            )
            for row in rows
        ],
        names=len(names),
    )


def _unstated(rows: list[Row], name: str) -> set[str]:
    """Return the networks or backends that no variant tells, or the one of all rows."""
    every = {getattr(row.run, name) for row in rows}
    untold = (row.run for row in rows if name not in variant_options(row.run.variant))
    return every if len(every) == 1 else {getattr(run, name) for run in untold}


def _comparison(row: Row) -> dict[str, str]:
    if row.paper is None:
        return {}
    acc, acc_std, bwt, bwt_std, _ = row.paper
    return {
        "paper ACC": f"{decimal_text(acc)} ± {decimal_text(acc_std)}",
        "paper BWT": f"{decimal_text(bwt)} ± {decimal_text(bwt_std)}",
        "Δ ACC": decimal_text(row.acc.mean - acc, sign="+"),
        "Δ/σ": deviations_text(row.acc_deviations),
        "Δ BWT": decimal_text(row.bwt.mean - bwt, sign="+"),
    }


def spread_text(spread: Spread, seeds: int) -> str:
    """Return "mean ± std", or the mean alone for a single seed."""
    mean = decimal_text(spread.mean)
    return mean if seeds == 1 else f"{mean} ± {decimal_text(spread.std)}"


def deviations_text(value: float | None) -> str:
    """Return a signed number of standard deviations; empty for None."""
    if value is None:
        return ""
    rounded = round(value, 1) + 0.0
    return f"{rounded:+.1f}" if abs(rounded) < 10 else f"{value:+.0f}"


def decimal_text(value: float, *, sign: Literal["-", "+"] = "-") -> str:
    """Return a number with two decimals, and a plus if asked for."""
    # Adding 0 turns the -0.0 that rounding may give into 0.0.
    return f"{round(value, 2) + 0.0:{sign}.2f}"
