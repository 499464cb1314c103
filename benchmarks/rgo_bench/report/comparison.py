"""What memory and time buy: accuracy, transfer, memory and seconds of every method."""

from collections.abc import Iterable
from typing import Final

import pandas as pd

from rgo_bench.records import Record
from rgo_bench.records.frame import RUN, runs_frame
from rgo_bench.sheets import Cell, Sheet, decimals, grid_of, mebibytes, spread

NUMBERS: Final[dict[str, Cell]] = {
    "seeds": lambda row: str(row.seeds),
    "ACC": spread("acc"),
    "BWT": spread("bwt"),
    "MiB": mebibytes,
    "capacity": decimals("capacity", ".0f"),
    "seconds": decimals("seconds", ".0f"),
}
COLUMNS: Final = [
    *(*RUN, "seeds", "acc", "acc_std", "bwt", "bwt_std"),
    *("kept_bytes", "capacity", "seconds"),
]


def comparisons(records: Iterable[Record]) -> pd.DataFrame:
    """Return `runs_frame`, the most accurate first.

    Those of one stream and of as many tasks: other accuracies say nothing of each
    other, and are refused.
    """
    kept = list(records)
    streams = sorted({record.stream for record in kept})
    if len(streams) != 1:
        raise ValueError(
            f"records: expected those of one stream, got {', '.join(streams) or 'none'}"
        )
    tasks = sorted({len(record.accuracy) for record in kept})
    if len(tasks) != 1:
        raise ValueError(f"records: expected as many tasks in all, got {tasks}")
    return runs_frame(kept).sort_values("acc", ascending=False, kind="stable")


def compare_sheet(rows: pd.DataFrame) -> Sheet:
    """Return the rows as a table."""
    grid = grid_of(rows.stream.iloc[0], rows, ["method", "variant"], NUMBERS)
    return Sheet([grid], rows[COLUMNS])
