"""The table of the zoo: a row for each model and method."""

from collections.abc import Iterable, Sequence
from statistics import fmean, pstdev
from typing import Final, NamedTuple

from rgo_bench.report.grids import Grid, Sheet
from rgo_bench.zoo.methods import METHODS
from rgo_bench.zoo.record import ZooRecord
from rgo_bench.zoo.registry import ZOO

TITLE: Final = "Three tasks, one head, no replay; time over plain, memory beyond it"
NAMES: Final = ("model", "method", "variant")
SHOWN: Final = ("protected", "ACC", "BWT", "learned", "time", "memory", "state")


class Spread(NamedTuple):
    """Mean and population standard deviation over the seeds."""

    mean: float
    deviation: float | None  # None for one seed


class ZooRow(NamedTuple):
    """What the records of one model and method come to; None: not known."""

    model: str
    method: str
    variant: str
    seeds: int
    protected: float | None  # percent of the parameters
    acc: Spread
    bwt: Spread | None
    learned: Spread | None
    seconds: float  # of the processor, for training and consolidating
    time: float | None  # over plain
    peak: float | None  # MiB
    memory: float | None  # MiB more than plain
    state: float | None  # MiB


def zoo_rows(records: Iterable[ZooRecord]) -> list[ZooRow]:
    """Return a row for each model, method and variant, in the order of the zoo.

    Time is over that of the plain optimizer on the same model; of memory the table
    states what is held beyond it, for these models are smaller than their libraries.
    """
    groups: dict[tuple[str, str, str], list[ZooRecord]] = {}
    for record in sorted(records, key=_place):
        key = record.model, record.method, record.variant
        groups.setdefault(key, []).append(record)
    return [
        _row(group, groups.get((model, "plain", "")))
        for (model, _, _), group in groups.items()
    ]


def zoo_sheet(records: Iterable[ZooRecord]) -> Sheet:
    """Return the table of records: to be read, and for programs."""
    rows = zoo_rows(records)
    names = NAMES if any(row.variant for row in rows) else NAMES[:2]
    cells = [
        (*(str(getattr(row, name)) for name in names), *shown_cells(row))
        for row in rows
    ]
    grid = Grid(TITLE, (*names, *SHOWN), cells, len(names))
    return Sheet([grid], [ZooRow._fields, *map(_plain, rows)])


def shown_cells(row: ZooRow) -> tuple[str, ...]:
    """Return the text under each of `SHOWN`."""
    return (
        "" if row.protected is None else f"{row.protected:.0f} %",
        *map(_spread_text, (row.acc, row.bwt, row.learned)),
        "" if row.time is None else f"{row.time:.2f}",
        "" if row.memory is None else f"{row.memory:+.0f} MiB",
        "" if row.state is None else f"{row.state:.1f} MiB",
    )


def _row(records: Sequence[ZooRecord], plain: Sequence[ZooRecord] | None) -> ZooRow:
    first = records[0]
    base = None if plain is None else fmean(r.learning_seconds for r in plain)
    base_peak = None if plain is None else _mean([r.peak_mib for r in plain])
    seconds = fmean(record.learning_seconds for record in records)
    peak = _mean([record.peak_mib for record in records])
    is_rgo = first.method.startswith("rgo")
    acc = _spread([record.acc for record in records])
    assert acc is not None  # every record has one
    return ZooRow(
        model=first.model,
        method=first.method,
        variant=first.variant,
        seeds=len(records),
        protected=fmean(r.protected for r in records) if is_rgo else None,
        acc=acc,
        bwt=_spread([record.bwt for record in records]),
        learned=_spread([record.learning_accuracy for record in records]),
        seconds=seconds,
        time=_ratio(seconds, base),
        peak=peak,
        memory=None if peak is None or base_peak is None else peak - base_peak,
        state=fmean(r.state_bytes for r in records) / 2**20 if is_rgo else None,
    )


def _place(record: ZooRecord) -> tuple[int, int, str, int]:
    models, methods = list(ZOO), list(METHODS)
    return (
        models.index(record.model) if record.model in models else len(models),
        methods.index(record.method) if record.method in methods else len(methods),
        record.variant,
        record.seed,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return fmean(found) if found and len(found) == len(values) else None


def _spread(values: Sequence[float | None]) -> Spread | None:
    found = [value for value in values if value is not None]
    if not found or len(found) < len(values):
        return None
    return Spread(fmean(found), pstdev(found) if len(found) > 1 else None)


def _ratio(value: float | None, base: float | None) -> float | None:
    return None if value is None or not base else value / base


def _spread_text(spread: Spread | None) -> str:
    if spread is None:
        return ""
    mean = f"{spread.mean:.1f}"
    return mean if spread.deviation is None else f"{mean} ± {spread.deviation:.1f}"


def _plain(row: ZooRow) -> tuple[object, ...]:
    return tuple(value.mean if isinstance(value, Spread) else value for value in row)
