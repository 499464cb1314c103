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

    Parameters
    ----------
    stream, method, network, backend : str
        Their names.
    variant : str
        The options that differ from the defaults (`variant_name`); empty if none.
    seed : int
        The seed, not negative.
    config : mapping
        Every option of the run, the defaults too, but for the seed.
    accuracy : tuple of tuples
        Row t holds the accuracy on every task after training on task t, in percent
        (`percent_rows`); None where it was not tested. The diagonal and the last row
        are complete.
    train_accuracy : tuple, optional
        After the last task the accuracy on the training samples of every task, in
        percent; of a method that keeps its tasks, when each was learned. None where it
        was not measured.
    kept : mapping, optional
        What the method keeps after the last task (`KEPT`): its bytes, and its weights
        in percent of one network's. None where it was not counted.
    seconds : mapping
        The seconds that each of `PHASES` took.
    environment : mapping
        What it ran on (`describe_environment`).

    Raises
    ------
    ValueError
        If a field is not of this form.
    """

    stream: str
    method: str
    variant: str
    network: str
    backend: str
    seed: int
    config: Mapping[str, Any]
    accuracy: Rows
    train_accuracy: tuple[float, ...] | None = None
    kept: Mapping[str, float] | None = None
    seconds: Mapping[str, float]
    environment: Mapping[str, Any]

    def __post_init__(self) -> None:
        for name in ("stream", "method", "network", "backend"):
            _expect_name(name, getattr(self, name))
        if not isinstance(self.variant, str):
            raise ValueError(f"variant: expected a text, got {self.variant!r}")
        variant_options(self.variant)
        if not isinstance(self.seed, int) or not _is_within(self.seed, math.inf):
            raise ValueError(
                f"seed: expected an integer of at least 0, got {self.seed!r}"
            )
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
    """Return an accuracy matrix in the form of `Record.accuracy`.

    Parameters
    ----------
    matrix : array (T, T)
        Accuracies in percent, NaN where not tested.

    Returns
    -------
    tuple of tuples
        Rounded to two decimals, None where not tested.
    """
    return tuple(
        tuple(None if math.isnan(entry) else round(entry, 2) for entry in row)
        for row in matrix.tolist()
    )


def _expect_name(field: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{field}: expected a name, got {value!r}")


def _expect_mapping(field: str, value: object) -> None:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{field}: expected values by name, got {value!r}")


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
            if entry is None and task != after and after != size - 1:
                continue
            if not _is_within(entry, 100):
                raise ValueError(
                    f"accuracy: expected percent on task {task} after task {after}, "
                    f"got {entry!r}"
                )


def _check_train_accuracy(entries: tuple[float, ...], tasks: int) -> None:
    if (
        not isinstance(entries, tuple)
        or len(entries) != tasks
        or not all(_is_within(entry, 100) for entry in entries)
    ):
        raise ValueError(
            f"train_accuracy: expected percent for each of {tasks} tasks, got "
            f"{entries!r}"
        )


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
        if not _is_within(value, sys.float_info.max):
            raise ValueError(
                f"{field}: expected a finite number of at least 0 for {name}, got "
                f"{value!r}"
            )
