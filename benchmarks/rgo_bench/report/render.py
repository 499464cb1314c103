"""The tables in the formats that they are read in."""

from collections.abc import Sequence
from textwrap import fill

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from rgo_bench.sheets import Grid

_LATEX_SIGNS = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "Δ": r"$\Delta$",
        "σ": r"$\sigma$",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    }
)


def render_rich(grids: Sequence[Grid]) -> list[Table]:
    """Return the tables for a terminal.

    All names share a column, which is folded so that 80 columns hold every number.
    """
    tables = []
    for grid in grids:
        table = Table(
            title=grid.title,
            title_justify="left",
            # A title wider than its table would be broken into lines.
            min_width=len(grid.title),
            box=box.SIMPLE_HEAD,
            padding=0,
        )
        rows = [[cell.replace(" ± ", "±") for cell in cells] for cells in grid.cells]
        table.add_column(grid.header[0], overflow="fold")
        for i, name in enumerate(grid.header[grid.names :], grid.names):
            width = max(map(len, (*name.split(), *(row[i] for row in rows))))
            table.add_column(fill(name, width), justify="right", no_wrap=True)
        for row in rows:
            # As Text, for rich would interpret brackets in a variant.
            table.add_row(Text(" ".join(row[: grid.names]).strip()), *row[grid.names :])
        tables.append(table)
    return tables


def render_markdown(grids: Sequence[Grid]) -> str:
    """Return the tables in Markdown, each under a heading."""
    return "\n".join(map(_markdown, grids))


def render_csv(lines: pd.DataFrame) -> str:
    """Return lines of plain values, the header first; what is not known is empty."""
    return str(lines.to_csv(index=False, lineterminator="\n"))


def render_latex(grids: Sequence[Grid]) -> str:
    r"""Return the tables in LaTeX, for the package ``booktabs``."""
    return "\n".join(map(_latex, grids))


def _markdown(grid: Grid) -> str:
    rules = ["---" if i < grid.names else "--:" for i in range(len(grid.header))]
    lines = [grid.header, tuple(rules), *grid.cells]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"### {grid.title}\n\n{table}\n"


def _latex(grid: Grid) -> str:
    columns = "l" * grid.names + "r" * (len(grid.header) - grid.names)
    rows = [
        [*map(_escape, cells[: grid.names]), *map(_mathematics, cells[grid.names :])]
        for cells in grid.cells
    ]
    table = pd.DataFrame(rows).to_latex(
        index=False, header=list(map(_escape, grid.header)), column_format=columns
    )
    return f"% {grid.title}\n{table}"


def _mathematics(number: str) -> str:
    return f"${number}$".replace("±", "\\pm") if number else ""


def _escape(text: str) -> str:
    return text.translate(_LATEX_SIGNS)
