"""The Python version of CIFAR-100: a pickle of training and one of test images."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rgo_bench.data.array_pickle import described, read_array_pickle
from rgo_bench.data.cifar_binary import CLASSES, COUNTS, SHAPE, check_labels
from rgo_bench.data.image_set import ImageSet

_PIXELS = 3 * 32 * 32
# Of a file for each image: the pixels, which are text of up to two bytes each where
# Python 3 wrote protocol 2, and some for labels and the name of a file.
_LARGEST_RECORD = 2 * _PIXELS + 1024


def read_cifar_python(
    files: Mapping[str, Path], *, counts: Mapping[str, int] = COUNTS
) -> ImageSet:
    """Read CIFAR-100 from its two pickles, of which nothing is run.

    Parameters
    ----------
    files : mapping
        The paths of ``"train"`` and ``"test"``.
    counts : mapping, optional
        The number of images that each file must hold; CIFAR-100's by default.

    Returns
    -------
    ImageSet
        Images of shape ``(N, 3, 32, 32)``, read-only, and the fine labels.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a file is not a pickle of arrays alone, or lacks images or labels of the
        form expected.
    """
    train = _read(files["train"], counts["train"])
    return ImageSet(*train, *_read(files["test"], counts["test"]))


def _read(path: Path, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    content = read_array_pickle(path, largest=count * _LARGEST_RECORD)
    images, labels = content.get("data"), content.get("fine_labels")
    if (
        not isinstance(images, np.ndarray)
        or images.dtype != np.uint8
        or images.shape != (count, _PIXELS)
    ):
        raise ValueError(
            f"{path}: expected 'data' of {count} x {_PIXELS} bytes, got "
            f"{described(images)}"
        )
    if isinstance(labels, np.ndarray) and labels.ndim == 1:
        labels = labels.tolist()
    if (
        not isinstance(labels, list)
        or len(labels) != count
        or any(type(label) is not int for label in labels)
    ):
        raise ValueError(
            f"{path}: expected 'fine_labels' of {count} whole numbers, got "
            f"{described(labels)}"
        )
    # As objects, so that no number is too large to be compared.
    check_labels(path, np.array(labels, object), "fine", CLASSES[1])
    return images.reshape(count, *SHAPE), np.array(labels, np.int64)
