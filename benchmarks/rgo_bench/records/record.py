"""What is recorded of a run."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast, final

import numpy as np
from numpy.typing import NDArray

from rgo_bench.records.variant import variant_options
from rgo_core import average_accuracy, backward_transfer

PHASES = ("train", "curvature", "consolidate", "evaluate")
KEPT = ("bytes", "capacity")

Rows: TypeAlias = tuple[tuple[float | None, ...], ...]


@final
@dataclass(frozen=True, kw_only=True)
class Record:
    """One run: a method learned a stream, from one seed.

    Fields of another form than stated here are refused.
    """

    stream: str
    method: str
    variant: str  # the options that differ from the defaults (`variant_name`)
    network: str
    backend: str
    seed: int
    config: Mapping[str, Any]  # every option but the seed, the defaults too
    # Row t: the accuracy on every task after training on task t, in percent
    # (`percent_rows`); None where it was not tested. The diagonal and the last row are
    # complete.
    accuracy: Rows
    # On the training samples of every task after the last, in percent; of a method that
    # keeps its tasks, when each was learned. None where it was not measured.
    train_accuracy: tuple[float, ...] | None = None
    # What the method keeps after the last task (`KEPT`): its bytes, and its weights in
    # percent of one network's. None where it was not counted.
    kept: Mapping[str, float] | None = None
    seconds: Mapping[str, float]  # that each of `PHASES` took
    environment: Mapping[str, Any]  # what it ran on (`describe_environment`)

    def __post_init__(self) -> None:
        for name in ("stream", "method", "network", "backend"):
            value = getattr(self, name)
            _expect(isinstance(value, str) and value, name, "a name", value)
        _expect(isinstance(self.variant, str), "variant", "a text", self.variant)
        variant_options(self.variant)
        natural = isinstance(self.seed, int) and _is_within(self.seed, math.inf)
        _expect(natural, "seed", "an integer of at least 0", self.seed)
        for name in ("config", "environment"):
            _expect_mapping(name, getattr(self, name))
        _check_accuracy(self.accuracy)
        if self.train_accuracy is not None:
            _check_train_accuracy(self.train_accuracy, len(self.accuracy))
        if self.kept is not None:
            _check_numbers("kept", self.kept, KEPT)
        _check_numbers("seconds", self.seconds, PHASES)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The accuracy as an array of shape (tasks, tasks), NaN where not tested."""
        return np.array(self.accuracy, dtype=np.float64)

    @property
    def acc(self) -> float:
        """The average accuracy after the last task, in percent."""
        return float(average_accuracy(self.matrix))

    @property
    def train_acc(self) -> float | None:
        """The average of the accuracy on training samples, in percent."""
        if self.train_accuracy is None:
            return None
        return float(np.mean(self.train_accuracy))

    @property
    def bwt(self) -> float:
        """The backward transfer, in percent: negative where tasks were forgotten."""
        return float(backward_transfer(self.matrix))


def percent_rows(matrix: NDArray[np.floating[Any]]) -> Rows:
    """Return a matrix of percent, NaN where not tested, as `Record.accuracy`.

    Entries are rounded to two decimals.
    """
    return tuple(
        tuple(None if math.isnan(entry) else round(entry, 2) for entry in row)
        for row in matrix.tolist()
    )


def _expect(good: object, field: str, form: str, value: object) -> None:
    if not good:
        raise ValueError(f"{field}: expected {form}, got {value!r}")


def _expect_mapping(field: str, value: object) -> None:
    named = isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
    _expect(named, field, "values by name", value)


def _is_within(value: object, highest: float) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= cast("float", value) <= highest


def _check_accuracy(rows: Rows) -> None:
    size = len(rows)
    if size == 0 or any(len(row) != size for row in rows):
        raise ValueError(
            "accuracy: expected as many columns as rows, and one at least, got rows "
            f"of {[len(row) for row in rows]}"
        )
    for after, row in enumerate(rows):
        for task, entry in enumerate(row):
            untested = entry is None and task != after and after != size - 1
            form = f"percent on task {task} after task {after}"
            _expect(untested or _is_within(entry, 100), "accuracy", form, entry)


def _check_train_accuracy(entries: tuple[float, ...], tasks: int) -> None:
    good = (
        isinstance(entries, tuple)
        and len(entries) == tasks
        and all(_is_within(entry, 100) for entry in entries)
    )
    _expect(good, "train_accuracy", f"percent for each of {tasks} tasks", entries)


def _check_numbers(
    field: str, values: Mapping[str, float], names: tuple[str, ...]
) -> None:
    _expect_mapping(field, values)
    if set(values) != set(names):
        raise ValueError(
            f"{field}: expected {', '.join(names)}, got "
            f"{', '.join(map(str, values)) or 'none'}"
        )
    for name, value in values.items():
        form = f"a finite number of at least 0 for {name}"
        _expect(_is_within(value, sys.float_info.max), field, form, value)
