"""The table of adapters: a row for each stream and method."""

from collections.abc import Iterable
from typing import Final

import pandas as pd

from rgo_bench.lora.choice import METHODS
from rgo_bench.records.frame import over_seeds
from rgo_bench.sheets import Cell, Sheet, decimals, grid_of, spread
from rgo_bench.zoo.record import ZooRecord, zoo_frame

TITLE: Final = "Task after task, one adapter, one head, no replay"
OWN: Final = ["retrieval", "english"]  # what the body could do before, by its stream
NAMES: Final = ["stream", "method", "variant"]
MEASURES: Final = ["acc", "bwt", "learned", "seconds", "state"]
COLUMNS: Final = [
    *(*NAMES, "seeds", "acc", "bwt", "learned", "seconds", "time", "state", "ability")
]
_STATE: Final = decimals("state", ".1f", unit=" MiB")
NUMBERS: Final[dict[str, Cell]] = {
    "method": lambda row: f"{row.method} {row.variant}".strip(),
    "seeds": lambda row: str(row.seeds),
    "ACC": spread("acc", digits=1),
    "BWT": spread("bwt", digits=1),
    "learned": spread("learned", digits=1),
    "time": decimals("time"),
    "state": lambda row: _STATE(row) if row.state else "",
    "own ability": decimals("ability", ".1f"),
}


def lora_rows(records: Iterable[ZooRecord]) -> pd.DataFrame:
    """Return a row for each stream, method and variant, methods in their order.

    Seconds are of the processor, for training and consolidating; time is over LoRA's.
    The state is MiB beside the adapter. The ability is what the body can still do of
    what it could, in percent. NaN where not known.
    """
    methods = list(METHODS)
    ordered = sorted(
        records, key=lambda r: (r.model, methods.index(r.method), r.variant, r.seed)
    )
    frame = zoo_frame(ordered).rename(columns={"model": "stream"})
    abilities = pd.DataFrame([each.abilities for each in ordered], columns=OWN)
    frame["ability"] = abilities.astype(float).max(axis=1)
    rows = over_seeds(frame, NAMES, MEASURES)
    # Where one seed does not tell, others do.
    rows["ability"] = frame.groupby(NAMES, sort=False).ability.mean().to_numpy()
    plain = rows[(rows.method == "lora") & (rows.variant == "")].set_index("stream")
    return rows.assign(time=rows.seconds / rows.stream.map(plain.seconds))


def lora_sheet(records: Iterable[ZooRecord]) -> Sheet:
    """Return the table of records: to be read, and for programs."""
    rows = lora_rows(records)
    grid = grid_of(TITLE, rows, ["stream"], NUMBERS)
    return Sheet([grid._replace(names=2)], rows[COLUMNS])
