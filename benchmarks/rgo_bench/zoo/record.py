"""What is recorded of a model of the zoo: one small JSON file a run."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from statistics import fmean
from typing import Any, Final, NamedTuple, final

import pandas as pd

from rgo_bench.records import variant_name, write_json

# Fields that records of earlier versions have not.
LATER: Final = {"abilities"}
NAMES: Final = ["model", "method", "variant"]
MEASURES: Final = ["protected", "acc", "bwt", "learned", "seconds", "peak", "state"]


class Asked(NamedTuple):
    """A run that is asked for."""

    name: str  # of the model or stream, in its registry
    model: str  # as records name it
    method: str
    seed: int
    steps: int  # of a task
    options: Mapping[str, Any] = {}  # of RGO, where they are not the method's


@final
@dataclass(frozen=True, kw_only=True)
class ZooRecord:
    """One run: a model learned its stream with a method, from one seed."""

    model: str
    method: str
    seed: int
    options: Mapping[str, Any]  # of RGO, where they are not the method's
    training: Mapping[str, Any]  # steps of a task, batch, lr
    parameters: int
    # Row t: every task up to t after t was learned, in percent; joint training has
    # one row.
    accuracy: list[list[float]]
    seconds: Mapping[str, float]  # of the processor: train, consolidate, evaluate
    peak_mib: float | None  # over what the process held before; None where not known
    environment: Mapping[str, Any]
    protected: float = 0.0  # percent of the parameters
    state_bytes: int = 0
    # What else was measured at the end, in percent, by name.
    abilities: Mapping[str, float] = field(default_factory=dict)

    @property
    def variant(self) -> str:
        """The options that are not the method's; empty if none."""
        return variant_name(self.options, {})

    @property
    def acc(self) -> float:
        """The mean accuracy after the last task."""
        return fmean(self.accuracy[-1])

    @property
    def learning_accuracy(self) -> float | None:
        """The mean accuracy on each task when it was learned; None if jointly."""
        if len(self.accuracy) == 1:
            return None
        return fmean(row[-1] for row in self.accuracy)

    @property
    def bwt(self) -> float | None:
        """The mean change of the earlier tasks since; None if learned jointly."""
        if len(self.accuracy) == 1:
            return None
        last = self.accuracy[-1]
        return fmean(
            last[task] - row[task] for task, row in enumerate(self.accuracy[:-1])
        )

    @property
    def learning_seconds(self) -> float:
        """What training and consolidating took."""
        return self.seconds["train"] + self.seconds["consolidate"]


def zoo_path(out: Path, run: Asked | ZooRecord, kind: str = "zoo") -> Path:
    """Return where a record is kept: ``OUT/MODEL/METHOD/[VARIANT/]KIND-SEED.json``.

    The kind tells the command that made it, ``"zoo"`` or ``"lora"``.
    """
    folder = out / run.model / run.method / variant_name(run.options, {})
    return folder / f"{kind}-{run.seed}.json"


def write_zoo_record(out: Path, record: ZooRecord, kind: str = "zoo") -> Path:
    """Write a record, whole or not at all, and return its file."""
    path = zoo_path(out, record, kind)
    write_json(path, asdict(record))
    return path


def read_zoo_record(path: Path) -> ZooRecord:
    """Read a record."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: expected a record of the zoo, got {error}") from None
    known = sorted(each.name for each in fields(ZooRecord))
    found = sorted(content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or {*known} - LATER != {*found} - LATER:
        raise ValueError(f"{path}: expected a record with {known}, got {found}")
    return ZooRecord(**content)


def read_zoo_records(out: Path, kind: str = "zoo") -> list[ZooRecord]:
    """Read every record of a kind in a folder and its subfolders; often none."""
    return [read_zoo_record(path) for path in sorted(out.rglob(f"{kind}-*.json"))]


def zoo_frame(records: Iterable[ZooRecord]) -> pd.DataFrame:
    """Return a row for each record: its names and, as numbers, what it measured.

    Seconds are of the processor, for training and consolidating; peak and state are
    MiB. NaN stands for what a record does not tell.
    """
    rows = []
    for each in records:
        names = (each.model, each.method, each.variant)
        accuracies = (each.acc, each.bwt, each.learning_accuracy)
        costs = (each.learning_seconds, each.peak_mib, each.state_bytes / 2**20)
        rows.append((*names, each.protected, *accuracies, *costs))
    frame = pd.DataFrame(rows, columns=[*NAMES, *MEASURES])
    return frame.astype(dict.fromkeys(MEASURES, float))
