"""The table of the zoo: a row for each model and method."""

from collections.abc import Iterable
from typing import Final

import numpy as np
import pandas as pd

from rgo_bench.records.frame import over_seeds
from rgo_bench.sheets import Cell, Sheet, decimals, grid_of, spread
from rgo_bench.zoo.methods import METHODS, uses_sgd
from rgo_bench.zoo.record import MEASURES, NAMES, ZooRecord, zoo_frame
from rgo_bench.zoo.registry import ZOO

TITLE: Final = "Three tasks, one head, no replay; time over plain, memory beyond it"
SHOWN: Final[dict[str, Cell]] = {
    "protected": decimals("protected", ".0f", unit=" %"),
    "ACC": spread("acc", digits=1),
    "BWT": spread("bwt", digits=1),
    "learned": spread("learned", digits=1),
    "time": decimals("time"),
    "memory": decimals("memory", "+.0f", unit=" MiB"),
    "state": decimals("state", ".1f", unit=" MiB"),
}
BASE: Final = ["model", "sgd"]  # what a plain optimizer's row is compared by
COLUMNS: Final = [
    *(*NAMES, "seeds", "protected", "acc", "bwt", "learned"),
    *("seconds", "time", "peak", "memory", "state"),
]


def zoo_rows(records: Iterable[ZooRecord]) -> pd.DataFrame:
    """Return a row for each model, method and variant, in the order of the zoo.

    Seconds are of the processor, for training and consolidating; time is over the plain
    optimizer's on the same model (SGD's, of methods with SGD). MiB are the peak, what
    it is beyond plain's, for these models are smaller than their libraries, and RGO's
    state. NaN: not known.
    """
    frame = zoo_frame(sorted(records, key=_place))
    frame.loc[~frame.method.str.startswith("rgo"), ["protected", "state"]] = np.nan
    rows = over_seeds(frame, NAMES, MEASURES)
    plain = rows[rows.method.isin(["plain", "plain-sgd"]) & (rows.variant == "")]
    base = _optimized(plain).join(plain[["seconds", "peak"]]).set_index(BASE)
    beside = _optimized(rows).join(base, on=BASE)
    time = rows.seconds / beside.seconds.where(beside.seconds > 0)
    return rows.assign(time=time, memory=rows.peak - beside.peak)


def zoo_sheet(records: Iterable[ZooRecord]) -> Sheet:
    """Return the table of records: to be read, and for programs."""
    rows = zoo_rows(records)
    names = NAMES if any(rows.variant) else NAMES[:2]
    return Sheet([grid_of(TITLE, rows, names, SHOWN)], rows[COLUMNS])


def _optimized(rows: pd.DataFrame) -> pd.DataFrame:
    """Return each row's model, and whether it was trained with SGD."""
    return pd.DataFrame({"model": rows.model, "sgd": rows.method.map(uses_sgd)})


def _place(record: ZooRecord) -> tuple[int, int, str, int]:
    # What is not known stands last.
    model = [*ZOO, record.model].index(record.model)
    method = [*METHODS, record.method].index(record.method)
    return model, method, record.variant, record.seed
