"""The binary version of CIFAR-100: a file of training and one of test images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

# Images (N, 3, 32, 32), and their fine labels.
Images: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.int64]]

SHAPE: Final = (3, 32, 32)
CLASSES: Final = (20, 100)  # coarse and fine
COUNTS: Final[Mapping[str, int]] = {"train": 50_000, "test": 10_000}

_PIXELS = 3 * 32 * 32
_RECORD = len(CLASSES) + _PIXELS


def read_cifar_binary(path: Path, count: int) -> Images:
    """Read so many images of CIFAR-100 from a binary file, mapped and read-only.

    A record is a byte with the coarse label, one with the fine label, which is used,
    and 3072 pixels: the red ones row by row, then the green and the blue ones.

    Raises
    ------
    ValueError
        If the file has another size or a label that does not exist.
    """
    size = path.stat().st_size
    if size != count * _RECORD:
        raise ValueError(
            f"{path}: expected {count} records of {_RECORD} bytes = {count * _RECORD} "
            f"bytes, got {size}"
        )
    mapped = np.memmap(path, np.uint8, mode="r", shape=(count, _RECORD))
    records: NDArray[np.uint8] = np.asarray(mapped)
    check_labels(path, records[:, 0], "coarse", CLASSES[0])
    check_labels(path, records[:, 1], "fine", CLASSES[1])
    return records[:, 2:].reshape(count, *SHAPE), records[:, 1].astype(np.int64)


def check_labels(
    path: Path, labels: NDArray[np.integer], kind: str, classes: int
) -> None:
    """Raise unless every label is that of a class."""
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(bad):
        raise ValueError(
            f"{path}: expected {kind} labels from 0 to {classes - 1}, got "
            f"{labels[bad[0]]} at image {bad[0]}"
        )
