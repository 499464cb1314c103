"""The cells of the tables as text, before any format."""

from collections.abc import Sequence
from itertools import groupby
from typing import Literal, NamedTuple

from rgo_bench.tables import Row, Spread

_OPTIONAL = ("variant", "network", "backend")
_OURS = ("seeds", "ACC", "BWT")
_PAPERS = ("paper ACC", "paper BWT", "Δ ACC", "Δ BWT")
_PAPERS_IN_DEVIATIONS = ("paper ACC", "paper BWT", "Δ ACC", "Δ/σ", "Δ BWT")


class Grid(NamedTuple):
    """The table of one stream."""

    title: str
    header: tuple[str, ...]
    cells: list[tuple[str, ...]]  # as many to a row as the header has
    names: int  # the first columns, which hold names; all others hold numbers


def grids(rows: Sequence[Row], *, deviations: bool = False) -> list[Grid]:
    """Return the table of each stream.

    A column of variant, network or backend is left out where it says the same in every
    row: network and backend then stand in the title. The paper's columns are left out
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
    shown = [name for name in _OPTIONAL if _varies(rows, name)]
    common = [
        getattr(rows[0].run, name)
        for name in ("network", "backend")
        if name not in shown
    ]
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


def _varies(rows: list[Row], name: str) -> bool:
    return len({getattr(row.run, name) for row in rows}) > 1


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
