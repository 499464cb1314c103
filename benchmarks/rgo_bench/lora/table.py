"""The table of adapters: a row for each stream and method."""

from collections.abc import Iterable, Sequence
from statistics import fmean, pstdev
from typing import Final, NamedTuple

import pandas as pd

from rgo_bench.lora.choice import METHODS
from rgo_bench.report.sheets import Grid, Sheet
from rgo_bench.zoo.record import ZooRecord

TITLE: Final = "Task after task, one adapter, one head, no replay"
OWN: Final = {"retrieval", "english"}  # what the body could do before, by its stream
HEADER: Final = (
    *("stream", "method", "seeds", "ACC", "BWT", "learned", "time", "state"),
    "own ability",
)


class LoraRow(NamedTuple):
    """What the records of one stream and method come to."""

    stream: str
    method: str
    variant: str
    seeds: int
    acc: list[float]  # of each seed
    bwt: list[float]
    learned: list[float]
    seconds: float  # of the processor, for training and consolidating
    time: float | None  # over LoRA's; None where that was not run
    state: float  # MiB beside the adapter
    # What the body can still do of what it could, in percent; None where not measured.
    ability: float | None


def lora_rows(records: Iterable[ZooRecord]) -> list[LoraRow]:
    """Return a row for each stream, method and variant, methods in their order."""
    groups: dict[tuple[str, str, str], list[ZooRecord]] = {}
    for record in sorted(records, key=_place):
        key = record.model, record.method, record.variant
        groups.setdefault(key, []).append(record)
    return [
        _row(group, groups.get((stream, "lora", "")))
        for (stream, _, _), group in groups.items()
    ]


def lora_sheet(records: Iterable[ZooRecord]) -> Sheet:
    """Return the table of records: to be read, and for programs."""
    rows = lora_rows(records)
    cells = [
        (
            row.stream,
            f"{row.method} {row.variant}".strip(),
            str(row.seeds),
            *map(_spread, (row.acc, row.bwt, row.learned)),
            "" if row.time is None else f"{row.time:.2f}",
            f"{row.state:.1f} MiB" if row.state else "",
            "" if row.ability is None else f"{row.ability:.1f}",
        )
        for row in rows
    ]
    plain = [
        tuple(fmean(value) if isinstance(value, list) else value for value in row)
        for row in rows
    ]
    lines = pd.DataFrame(plain, columns=list(LoraRow._fields))
    return Sheet([Grid(TITLE, HEADER, cells, 2)], lines)


def _row(records: Sequence[ZooRecord], plain: Sequence[ZooRecord] | None) -> LoraRow:
    first = records[0]
    seconds = fmean(record.learning_seconds for record in records)
    base = fmean(record.learning_seconds for record in plain) if plain else None
    abilities = [
        r.abilities[name] for r in records for name in OWN & r.abilities.keys()
    ]
    return LoraRow(
        stream=first.model,
        method=first.method,
        variant=first.variant,
        seeds=len(records),
        acc=[record.acc for record in records],
        bwt=[r.bwt for r in records if r.bwt is not None],
        learned=[
            r.learning_accuracy for r in records if r.learning_accuracy is not None
        ],
        seconds=seconds,
        time=seconds / base if base else None,
        state=fmean(record.state_bytes for record in records) / 2**20,
        ability=fmean(abilities) if abilities else None,
    )


def _place(record: ZooRecord) -> tuple[str, int, str, int]:
    methods = list(METHODS)
    return record.model, methods.index(record.method), record.variant, record.seed


def _spread(values: Sequence[float]) -> str:
    mean = f"{fmean(values):.1f}"
    return f"{mean} ± {pstdev(values):.1f}" if len(values) > 1 else mean
