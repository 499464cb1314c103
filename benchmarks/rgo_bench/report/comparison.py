"""What memory and time buy: accuracy, transfer, memory and seconds of every method."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rgo_bench.records import Record
from rgo_bench.records.groups import Run, group_by_run
from rgo_bench.report.grids import Grid, Sheet, decimal_text, spread_text
from rgo_bench.report.tables import Spread, spread_of

NUMBERS = ("seeds", "ACC", "BWT", "MiB", "capacity", "seconds")


class Comparison(NamedTuple):
    """A run over its seeds, and what it costs."""

    run: Run
    seeds: int
    acc: Spread
    bwt: Spread
    kept: float | None  # bytes of all that is kept; None where a record tells not
    capacity: float | None  # weights, in percent of one network's
    seconds: float  # of learning: the tests apart


def comparisons(records: Iterable[Record]) -> list[Comparison]:
    """Return a row for each run, the most accurate first.

    Parameters
    ----------
    records : iterable of Record
        Those of one stream, of runs of as many tasks.

    Returns
    -------
    list of Comparison

    Raises
    ------
    ValueError
        If there is no record, or they are of several streams or numbers of tasks,
        whose accuracies say nothing of each other, or a run's records state different
        configurations.
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
    rows = [_row(run, group) for run, group in group_by_run(kept).items()]
    return sorted(rows, key=lambda row: -row.acc.mean)


def compare_sheet(rows: Sequence[Comparison]) -> Sheet:
    """Return the rows as a table."""
    cells = [
        (
            *(row.run.method, row.run.variant, str(row.seeds)),
            *(spread_text(s, row.seeds) for s in (row.acc, row.bwt)),
            mebibytes(row.kept),
            "" if row.capacity is None else f"{row.capacity:.0f}",
            f"{row.seconds:.0f}",
        )
        for row in rows
    ]
    title = rows[0].run.stream
    header: tuple[object, ...] = (
        *("stream", "method", "variant", "network", "backend", "seeds"),
        *("acc", "acc_std", "bwt", "bwt_std", "kept_bytes", "capacity", "seconds"),
    )
    lines = [header, *map(_line, rows)]
    return Sheet([Grid(title, ("method", "variant", *NUMBERS), cells, 2)], lines)


def mebibytes(size: float | None) -> str:
    """Return a number of bytes in MiB; empty for None."""
    return "" if size is None else decimal_text(size / 2**20)


def _row(run: Run, group: Sequence[Record]) -> Comparison:
    counted = [record.kept for record in group if record.kept is not None]
    whole = len(counted) == len(group)
    return Comparison(
        run,
        len(group),
        spread_of(record.acc for record in group),
        spread_of(record.bwt for record in group),
        spread_of(each["bytes"] for each in counted).mean if whole else None,
        spread_of(each["capacity"] for each in counted).mean if whole else None,
        spread_of(_learning(record) for record in group).mean,
    )


def _learning(record: Record) -> float:
    return sum(record.seconds.values()) - record.seconds["evaluate"]


def _line(row: Comparison) -> tuple[object, ...]:
    costs = (row.kept, row.capacity, row.seconds)
    return (*row.run, row.seeds, *row.acc, *row.bwt, *costs)
