"""The Python version of CIFAR-100: a pickle of training and one of test images."""

from pathlib import Path

import numpy as np

from rgo_bench.data.array_pickle import described, read_array_pickle
from rgo_bench.data.cifar_binary import CLASSES, SHAPE, Images, check_labels

_PIXELS = 3 * 32 * 32
# Of a file for each image: the pixels, which are text of up to two bytes each where
# Python 3 wrote protocol 2, and some for labels and the name of a file.
_LARGEST_RECORD = 2 * _PIXELS + 1024


def read_cifar_python(path: Path, count: int) -> Images:
    """Read so many images of CIFAR-100 from a pickle, of which nothing is run.

    Raises
    ------
    ValueError
        If the file is not a pickle of arrays alone, or lacks images or labels of the
        form expected.
    """
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
