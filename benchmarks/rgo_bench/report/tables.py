"""The rows of the tables: ours beside the paper's."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from rgo_bench.paper.published import Published, published
from rgo_bench.records import Record, variant_options
from rgo_bench.records.groups import Run, group_by_run
from rgo_bench.streams import STREAMS


class Spread(NamedTuple):
    """A number over the seeds."""

    mean: float
    std: float  # of the population, as in the paper


class Row(NamedTuple):
    """One run in a table; accuracies in percent."""

    run: Run
    seeds: int  # how many
    acc: Spread
    bwt: Spread
    paper: Published | None  # None where the paper has no number to compare with

    @property
    def acc_difference(self) -> float | None:
        """Our mean accuracy less the paper's."""
        return None if self.paper is None else self.acc.mean - self.paper.acc

    @property
    def bwt_difference(self) -> float | None:
        """Our mean backward transfer less the paper's."""
        return None if self.paper is None else self.bwt.mean - self.paper.bwt

    @property
    def acc_deviations(self) -> float | None:
        """The difference in accuracy, in standard deviations of the paper's seeds."""
        return self.paper and _ratio(self.acc_difference, self.paper.acc_std)

    @property
    def bwt_deviations(self) -> float | None:
        """The difference in transfer, in standard deviations of the paper's seeds."""
        return self.paper and _ratio(self.bwt_difference, self.paper.bwt_std)

    @property
    def agrees(self) -> bool | None:
        """Whether the accuracy is within two deviations or a point of the paper's.

        The larger of the two counts: the paper prints deviations of 0.01 over five
        seeds, which no other five would keep.
        """
        if self.paper is None or self.acc_difference is None:
            return None
        return abs(self.acc_difference) <= max(1.0, 2 * self.paper.acc_std)


def table_rows(records: Iterable[Record]) -> list[Row]:
    """Return one row for each run.

    Parameters
    ----------
    records : iterable of Record
        Any records.

    Returns
    -------
    list of Row
        Ordered as by `rgo_bench.records.groups.group_by_run`. A run has the paper's
        numbers beside it when stream, method and network are the paper's and the
        variant changes no option of the stream; a variant of the method is compared.

    Raises
    ------
    ValueError
        If a run's records state different configurations.
    """
    return [
        Row(
            run,
            len(group),
            spread_of(record.acc for record in group),
            spread_of(record.bwt for record in group),
            _comparable(run),
        )
        for run, group in group_by_run(records).items()
    ]


def table_lines(rows: Sequence[Row]) -> list[tuple[object, ...]]:
    """Return a header and the rows as plain values, numbers unrounded.

    The columns are always the same; what the paper does not print is None.
    """
    header = (
        *(*Run._fields, "seeds", "acc", "acc_std", "bwt", "bwt_std"),
        *("paper_acc", "paper_acc_std", "paper_bwt", "paper_bwt_std"),
        *("acc_difference", "bwt_difference", "acc_deviations", "bwt_deviations"),
    )
    return [header, *map(_line, rows)]


def spread_of(values: Iterable[float]) -> Spread:
    """Return mean and population deviation of at least one value."""
    listed = list(values)
    return Spread(float(np.mean(listed)), float(np.std(listed)))


def _line(row: Row) -> tuple[object, ...]:
    paper = row.paper[:4] if row.paper else (None,) * 4
    points = (row.acc_difference, row.bwt_difference)
    compared = (*points, row.acc_deviations, row.bwt_deviations)
    return (*row.run, row.seeds, *row.acc, *row.bwt, *paper, *compared)


def _ratio(difference: float | None, deviation: float) -> float | None:
    return difference / deviation if difference is not None and deviation else None


def _comparable(run: Run) -> Published | None:
    numbers = published(run.stream, run.method)
    if numbers is None or run.network not in numbers.networks:
        return None
    protocol = {"data"}
    if run.stream in STREAMS:
        protocol.update(STREAMS[run.stream].defaults.names())
    return None if protocol & variant_options(run.variant).keys() else numbers
