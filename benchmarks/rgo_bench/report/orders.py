"""How much the order of the tasks matters: order-normalised performance disparity."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rgo_bench.records import Record
from rgo_bench.runs.spec import Spec, make_spec
from rgo_bench.sheets import Cell, Sheet, decimals, grid_of, spread_text
from rgo_bench.streams.reordered import task_order

COLUMNS: Final = ["method", "orders", "acc", "acc_std", "aopd", "mopd"]
NUMBERS: Final[dict[str, Cell]] = {
    "orders": lambda row: str(row.orders),
    "ACC": lambda row: spread_text(row.acc, row.acc_std, row.orders),
    "AOPD": decimals("aopd"),
    "MOPD": decimals("mopd"),
}


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

    The first order is the stream's own. Options that name an order are refused, and
    more orders than the tasks have.
    """
    if "order" in options:
        raise ValueError("option 'order': expected none, for it takes all orders")
    specs = [
        make_spec(
            *(stream, method, seed, {**options, "order": order} if order else options),
            network=network,
        )
        for method in methods
        for order in range(orders)
    ]
    tasks = specs[0].stream_options.tasks
    different = {tuple(task_order(tasks, order)) for order in range(orders)}
    if len(different) < orders:
        raise ValueError(
            f"expected so many orders of {tasks} tasks that all differ, got {orders}, "
            f"of which {len(different)} do"
        )
    return specs


def disparities(records: Iterable[Record]) -> pd.DataFrame:
    """Return the disparity of each method over records of `order_specs`, in points.

    ``OPD_t = max_r P_t^r - min_r P_t^r`` is task t's, with its accuracy P_t^r after the
    last task of order r; AOPD is the mean over the tasks, MOPD the largest.

    References
    ----------
    Yoon, Kim, Yang and Hwang, "Scalable and Order-robust Continual Learning with
    Additive Parameter Decomposition", ICLR 2020, equation 7.
    """
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        groups[record.method].append(record)
    rows = []
    for method, group in groups.items():
        accuracies = np.array([record.acc for record in group])
        apart = np.ptp(np.stack([_by_task(record) for record in group]), axis=0)
        spread = accuracies.mean(), accuracies.std()
        rows.append((method, len(group), *spread, apart.mean(), apart.max()))
    return pd.DataFrame(rows, columns=COLUMNS)


def order_sheet(rows: pd.DataFrame) -> Sheet:
    """Return the disparities as a table."""
    title = "the same tasks in other orders"
    return Sheet([grid_of(title, rows, ["method"], NUMBERS)], rows)


def _by_task(record: Record) -> NDArray[np.float64]:
    """Return the final accuracies in the order of the stream's own tasks."""
    last = record.matrix[-1]
    places = task_order(len(last), record.config.get("order") or 0)
    found: NDArray[np.float64] = np.empty_like(last)
    found[places] = last
    return found
