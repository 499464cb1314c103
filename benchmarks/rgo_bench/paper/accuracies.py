"""The table of accuracies: ours beside the paper's."""

from collections.abc import Iterable
from typing import Final

import numpy as np
import pandas as pd

from rgo_bench.paper.published import Published, published, published_methods
from rgo_bench.records import Record, variant_options
from rgo_bench.records.frame import RUN, runs_frame
from rgo_bench.records.groups import Run
from rgo_bench.sheets import Cell, Grid, Sheet, grid_of, signed, spread
from rgo_bench.sheets import deviations as in_deviations
from rgo_bench.streams import STREAMS

PAPERS: Final = ["paper_acc", "paper_acc_std", "paper_bwt", "paper_bwt_std"]
COLUMNS: Final = [
    *(*RUN, "seeds", "acc", "acc_std", "bwt", "bwt_std", *PAPERS),
    *("acc_difference", "bwt_difference", "acc_deviations", "bwt_deviations"),
]
_STATED = ("network", "backend")  # by a variant too, where they are not the default
OUR_CELLS: Final[dict[str, Cell]] = {
    "seeds": lambda row: str(row.seeds),
    "ACC": spread("acc"),
    "BWT": spread("bwt"),
}
PAPER_CELLS: Final[dict[str, Cell]] = {
    "paper ACC": spread("paper_acc", seeds=5),
    "paper BWT": spread("paper_bwt", seeds=5),
    "Δ ACC": signed("acc_difference"),
    "Δ/σ": in_deviations("acc_deviations"),
    "Δ BWT": signed("bwt_difference"),
}


def paper_order(run: Run) -> tuple[str, int, Run]:
    """Put the methods of the paper's Table 1 in its order, others after them."""
    methods = published_methods()
    known = run.method in methods
    return run.stream, methods.index(run.method) if known else len(methods), run


def table_rows(records: Iterable[Record]) -> pd.DataFrame:
    """Return `runs_frame` in `paper_order`, with the paper's numbers beside ours.

    A run has the paper's numbers beside it when stream, method and network are the
    paper's and the variant changes no option of the stream; a variant of the method is
    compared. NaN elsewhere. ``agrees`` tells whether the accuracy is within two
    deviations or a point of the paper's, whichever is more: the paper prints
    deviations of 0.01 over five seeds, which no other five would keep.
    """
    rows = runs_frame(records).sort_values(
        "run", key=lambda runs: runs.map(paper_order), ignore_index=True
    )
    papers = [(_comparable(run) or (None,) * 4)[:4] for run in rows.run]
    rows[PAPERS] = pd.DataFrame(papers, columns=PAPERS, dtype=float)
    for name in ("acc", "bwt"):
        std, difference = rows[f"paper_{name}_std"], rows[name] - rows[f"paper_{name}"]
        rows[f"{name}_difference"] = difference
        rows[f"{name}_deviations"] = difference / std.where(std > 0)
    allowed = np.maximum(1.0, 2 * rows.paper_acc_std)
    return rows.assign(agrees=rows.acc_difference.abs() <= allowed)


def accuracy_sheet(records: Iterable[Record], *, deviations: bool = False) -> Sheet:
    """Return the accuracies of records beside the paper's Table 1, a table a stream.

    A column of variant, network or backend is left out where it says the same in every
    row, or for network and backend what the variant says: what all other rows have then
    stands in the title. The paper's columns are left out where the paper has no number.
    With `deviations` the difference in accuracy is stated in standard deviations of the
    paper too; empty where the paper's is zero.
    """
    rows = table_rows(records)
    streams = rows.groupby("stream", sort=False)
    grids = [_grid(stream, own, deviations) for stream, own in streams]
    return Sheet(grids, rows[COLUMNS])


def _grid(stream: str, rows: pd.DataFrame, deviations: bool) -> Grid:
    names = ["method", *(["variant"] if rows.variant.nunique() > 1 else [])]
    common: list[str] = []
    for name in _STATED:
        untold = _unstated(rows, name)
        if len(untold) > 1:
            names.append(name)
        else:
            common.extend(untold)
    columns = OUR_CELLS | (PAPER_CELLS if rows.paper_acc.notna().any() else {})
    if not deviations:
        columns = {name: cell for name, cell in columns.items() if name != "Δ/σ"}
    title = f"{stream} ({', '.join(common)})" if common else stream
    return grid_of(title, rows, names, columns)


def _unstated(rows: pd.DataFrame, name: str) -> set[str]:
    """Return the networks or backends that no variant tells, or the one of all rows."""
    every = set(rows[name])
    told = rows.variant.map(lambda variant: name in variant_options(variant))
    return every if len(every) == 1 else set(rows[name][~told])


def _comparable(run: Run) -> Published | None:
    numbers = published(run.stream, run.method)
    if numbers is None or run.network not in numbers.networks:
        return None
    protocol = {"data"}
    if run.stream in STREAMS:
        protocol.update(STREAMS[run.stream].defaults.as_dict())
    return None if protocol & variant_options(run.variant).keys() else numbers
