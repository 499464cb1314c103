"""How much the order of the tasks matters: order-normalised performance disparity."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rgo_bench.records import Record
from rgo_bench.report.grids import Grid, Sheet, decimal_text, spread_text
from rgo_bench.report.tables import Spread, spread_of
from rgo_bench.runs.spec import Spec, make_spec
from rgo_bench.streams.reordered import task_order


class Disparity(NamedTuple):
    """What the order of the tasks does to a method, in points."""

    method: str
    orders: int
    acc: Spread  # over the orders
    average: float  # AOPD: of a task's best and worst final accuracy, over the tasks
    largest: float  # MOPD


def order_specs(
    stream: str,
    methods: Iterable[str],
    *,
    orders: int,
    seed: int,
    options: Mapping[str, Any],
    network: str | None = None,
) -> list[Spec]:
    """Return the runs of each method in so many orders of the same tasks.

    The first order is the stream's own.
    """
    return [
        make_spec(
            *(stream, method, seed),
            {**options, **({"order": order} if order else {})},
            network=network,
        )
        for method in methods
        for order in range(orders)
    ]


def disparities(records: Iterable[Record]) -> list[Disparity]:
    """Return the disparity of each method.

    ``OPD_t = max_r P_t^r - min_r P_t^r`` is task t's, with its accuracy P_t^r after the
    last task of order r; AOPD is the mean over the tasks, MOPD the largest.

    Parameters
    ----------
    records : iterable of Record
        Those of `order_specs`.

    Returns
    -------
    list of Disparity
        In the order in which the methods come.

    References
    ----------
    Yoon, Kim, Yang and Hwang, "Scalable and Order-robust Continual Learning with
    Additive Parameter Decomposition", ICLR 2020, equation 7.
    """
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[record.method].append(record)
    return [_disparity(method, group) for method, group in groups.items()]


def order_sheet(rows: Sequence[Disparity]) -> Sheet:
    """Return the disparities as a table."""
    cells = [
        (
            *(row.method, str(row.orders), spread_text(row.acc, row.orders)),
            *(decimal_text(value) for value in (row.average, row.largest)),
        )
        for row in rows
    ]
    header = ("method", "orders", "ACC", "AOPD", "MOPD")
    lines: list[tuple[object, ...]] = [
        ("method", "orders", "acc", "acc_std", "aopd", "mopd"),
        *((r.method, r.orders, *r.acc, r.average, r.largest) for r in rows),
    ]
    return Sheet([Grid("the same tasks in other orders", header, cells, 1)], lines)


def _disparity(method: str, group: Sequence[Record]) -> Disparity:
    final = np.stack([_by_task(record) for record in group])
    apart = np.ptp(final, axis=0)
    accuracies = spread_of(record.acc for record in group)
    return Disparity(
        method, len(group), accuracies, float(apart.mean()), float(apart.max())
    )


def _by_task(record: Record) -> NDArray[np.float64]:
    """Return the final accuracies in the order of the stream's own tasks."""
    last = record.matrix[-1]
    places = task_order(len(last), record.config.get("order") or 0)
    found: NDArray[np.float64] = np.empty_like(last)
    found[places] = last
    return found
