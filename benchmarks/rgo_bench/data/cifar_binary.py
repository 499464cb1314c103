"""The binary version of CIFAR-100: a file of training and one of test images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rgo_bench.data.image_set import ImageSet

SHAPE: Final = (3, 32, 32)
CLASSES: Final = (20, 100)  # coarse and fine
COUNTS: Final[Mapping[str, int]] = {"train": 50_000, "test": 10_000}

_PIXELS = 3 * 32 * 32
_RECORD = len(CLASSES) + _PIXELS


def read_cifar_binary(
    files: Mapping[str, Path], *, counts: Mapping[str, int] = COUNTS
) -> ImageSet:
    """Read CIFAR-100 from its two binary files.

    A record is a byte with the coarse label, one with the fine label, which is used,
    and 3072 pixels: the red ones row by row, then the green and the blue ones.

    Parameters
    ----------
    files : mapping
        The paths of ``"train"`` and ``"test"``.
    counts : mapping, optional
        The number of images that each file must hold; CIFAR-100's by default.

    Returns
    -------
    ImageSet
        Images of shape ``(N, 3, 32, 32)``, mapped into memory and read-only.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a file has another size or a label that does not exist.
    """
    train = _read(files["train"], counts["train"])
    return ImageSet(*train, *_read(files["test"], counts["test"]))


def _read(path: Path, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
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
