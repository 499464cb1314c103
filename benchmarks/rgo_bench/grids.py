"""The cells of the tables as text, before any format."""

from collections.abc import Sequence
from itertools import groupby
from typing import Literal, NamedTuple

from rgo_bench.tables import Row, Spread

_OPTIONAL = ("variant", "network", "backend")
_OURS = ("seeds", "ACC", "BWT")
_PAPERS = ("paper ACC", "paper BWT", "Δ ACC", "Δ BWT")


class Grid(NamedTuple):
    """The table of one stream."""

    title: str
    header: tuple[str, ...]
    cells: list[tuple[str, ...]]  # as many to a row as the header has
    names: int  # the first columns, which hold names; all others hold numbers


def grids(rows: Sequence[Row]) -> list[Grid]:
    """Return the table of each stream.

    A column of variant, network or backend is left out where it says the same in every
    row: network and backend then stand in the title. The paper's columns are left out
    where the paper has no number.

    Parameters
    ----------
    rows : sequence of Row
        The rows, those of a stream beside each other.

    Returns
    -------
    list of Grid
        One for each stream. Percent have two decimals; a spread is "mean ± std", or
        the mean alone for a single seed.
    """
    return [
        _grid(stream, list(group))
        for stream, group in groupby(rows, key=lambda row: row.run.stream)
    ]


def _grid(stream: str, rows: list[Row]) -> Grid:
    shown = [name for name in _OPTIONAL if _varies(rows, name)]
    common = [
        getattr(rows[0].run, name)
        for name in ("network", "backend")
        if name not in shown
    ]
    compared = any(row.paper for row in rows)
    names = ("method", *shown)
    return Grid(
        title=f"{stream} ({', '.join(common)})" if common else stream,
        header=(*names, *_OURS, *(_PAPERS if compared else ())),
        cells=[
            (
                *(getattr(row.run, name) for name in names),
                str(row.seeds),
                _percent(row.acc, row.seeds),
                _percent(row.bwt, row.seeds),
                *(_comparison(row) if compared else ()),
            )
            for row in rows
        ],
        names=len(names),
    )


def _varies(rows: list[Row], name: str) -> bool:
    return len({getattr(row.run, name) for row in rows}) > 1


def _comparison(row: Row) -> tuple[str, ...]:
    if row.paper is None:
        return ("",) * len(_PAPERS)
    acc, acc_std, bwt, bwt_std, _ = row.paper
    return (
        f"{_decimal(acc)} ± {_decimal(acc_std)}",
        f"{_decimal(bwt)} ± {_decimal(bwt_std)}",
        _decimal(row.acc.mean - acc, sign="+"),
        _decimal(row.bwt.mean - bwt, sign="+"),
    )


def _percent(spread: Spread, seeds: int) -> str:
    mean = _decimal(spread.mean)
    return mean if seeds == 1 else f"{mean} ± {_decimal(spread.std)}"


def _decimal(value: float, *, sign: Literal["-", "+"] = "-") -> str:
    # Adding 0 turns the -0.0 that rounding may give into 0.0.
    return f"{round(value, 2) + 0.0:{sign}.2f}"
