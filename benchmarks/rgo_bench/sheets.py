"""A table, made once: rows of a frame as the text of cells, before any format."""

from collections.abc import Callable, Mapping
from math import isnan
from typing import Any, Literal, NamedTuple

import pandas as pd

from rgo_bench.records import PHASES

# From a row, as `DataFrame.itertuples` yields them, to the text of one of its cells.
Cell = Callable[[Any], str]


class Grid(NamedTuple):
    """A table as it is read, for instance that of one stream."""

    title: str
    header: tuple[str, ...]
    cells: list[tuple[str, ...]]  # as many to a row as the header has
    names: int  # the first columns, which hold names; all others hold numbers


class Sheet(NamedTuple):
    """Tables in both forms."""

    grids: list[Grid]  # to be read
    lines: pd.DataFrame  # for programs: plain values, numbers unrounded


def grid_of(
    title: str, rows: pd.DataFrame, names: list[str], numbers: Mapping[str, Cell]
) -> Grid:
    """Return the rows as a table: columns of names, then the text of `numbers`."""
    cells = [
        (*(getattr(row, n) for n in names), *(text(row) for text in numbers.values()))
        for row in rows.itertuples()
    ]
    return Grid(title, (*names, *numbers), cells, len(names))


def spread(name: str, *, digits: int = 2, seeds: int | None = None) -> Cell:
    """Return the cell of `spread_text`, for a row's own number of seeds or another."""

    def text(row: Any) -> str:
        mean, std = getattr(row, name), getattr(row, f"{name}_std")
        return spread_text(mean, std, seeds or row.seeds, digits=digits)

    return text


def decimals(name: str, form: str = ".2f", *, unit: str = "", scale: float = 1) -> Cell:
    """Return the cell of a number, divided by a scale; empty for NaN."""

    def text(row: Any) -> str:
        value = getattr(row, name) / scale
        return "" if isnan(value) else f"{value:{form}}{unit}"

    return text


def signed(name: str) -> Cell:
    """Return the cell of a difference; empty for NaN."""
    return decimals(name, "+z.2f")  # z: without the -0.00 that rounding may give


def deviations(name: str) -> Cell:
    """Return the cell of a signed number of standard deviations; empty for NaN."""

    def text(row: Any) -> str:
        value = getattr(row, name)
        if isnan(value):
            return ""
        return f"{value:+z.1f}" if abs(round(value, 1)) < 10 else f"{value:+.0f}"

    return text


mebibytes = decimals("kept_bytes", scale=2**20)


def cost_cells(row: Mapping[str, Any]) -> list[str]:
    """Return seconds, their ratio, those of each phase, MiB, and their ratio."""
    return [
        *(f"{row['total']:.1f}", f"{row['time_ratio']:.2f}"),
        *(f"{row['seconds'][phase]:.1f}" for phase in PHASES),
        *(f"{row['peak']:.0f}", f"{row['memory_ratio']:.2f}"),
    ]


def spread_text(
    mean: float | None, std: float | None, seeds: int = 2, *, digits: int = 2
) -> str:
    """Return "mean ± std", or the mean alone for one seed; empty for NaN and None."""
    text = decimal_text(mean, digits=digits)
    many = text and seeds > 1
    return f"{text} ± {decimal_text(std, digits=digits)}" if many else text


def decimal_text(
    value: float | None, *, sign: Literal["-", "+"] = "-", digits: int = 2
) -> str:
    """Return a number, with a plus if asked for; empty for NaN and None."""
    known = value is not None and not isnan(value)
    return f"{value:{sign}z.{digits}f}" if known else ""
