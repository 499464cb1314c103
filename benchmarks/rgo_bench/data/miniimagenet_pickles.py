"""miniImageNet as three pickles of arrays."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rgo_bench.data.array_pickle import described, read_array_pickle
from rgo_bench.data.class_images import ClassSizes
from rgo_bench.data.jpeg_classes import SPLITS

FILES: Final = tuple(f"mini-imagenet-cache-{split}.pkl" for split in SPLITS)
# Of a file for each image, beside its pixels: its number, and what a header takes.
_LARGEST_REST = 1024


def read_pickled_classes(
    files: Mapping[str, Path], sizes: ClassSizes
) -> Iterator[NDArray[np.uint8]]:
    """Yield the images of each class of all files, in the order of the classes' names.

    A file holds a dictionary with ``"image_data"``, the images of shape
    ``(N, side, side, 3)``, taken as RGB, and ``"class_dict"``, the rows of each class
    by its name. Of the pickles nothing is run. A class's images come in the order of
    their rows, of shape ``(sizes.images, 3, side, side)``. All files are held in
    memory: 1.3 GB for miniImageNet.
    """
    classes: dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]] = {}
    for path in files.values():
        images, rows = _read(path, sizes)
        for name in rows:
            if name in classes:
                raise ValueError(f"{path}: expected no class twice, got {name} again")
            classes[name] = images, rows[name]
    if len(classes) != sizes.classes:
        raise ValueError(
            f"{path.parent}: expected {sizes.classes} classes in {', '.join(FILES)}, "
            f"got {len(classes)}"
        )
    for name in sorted(classes):
        images, taken = classes[name]
        yield images[taken].transpose(0, 3, 1, 2)


def _read(
    path: Path, sizes: ClassSizes
) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.int64]]]:
    shape = (sizes.side, sizes.side, 3)
    # Python 3 writes a byte of protocol 2 as text, of up to two bytes.
    largest = sizes.classes * sizes.images * (sizes.side**2 * 6 + _LARGEST_REST)
    content = read_array_pickle(path, largest=largest)
    images, classes = content.get("image_data"), content.get("class_dict")
    if (
        not isinstance(images, np.ndarray)
        or images.dtype != np.uint8
        or images.shape[1:] != shape
    ):
        raise ValueError(
            f"{path}: expected 'image_data' of N x {' x '.join(map(str, shape))} "
            f"bytes, got {described(images)}"
        )
    if not isinstance(classes, dict):
        raise ValueError(
            f"{path}: expected 'class_dict', a dictionary of classes, got "
            f"{described(classes)}"
        )
    return images, {
        name: _rows(path, name, classes[name], len(images), sizes.images)
        for name in classes
    }


def _rows(
    path: Path, name: str, rows: Any, available: int, count: int
) -> NDArray[np.int64]:
    """Return the rows of a class in ascending order."""
    if isinstance(rows, np.ndarray) and rows.ndim == 1:
        rows = rows.tolist()
    whole = isinstance(rows, list) and all(type(row) is int for row in rows)
    if not whole or any(not 0 <= row < available for row in rows):
        raise ValueError(
            f"{path}: expected rows from 0 to {available - 1} for class {name}, got "
            "others"
        )
    different = sorted(set(rows))
    if len(different) != count or len(rows) != count:
        raise ValueError(
            f"{path}: expected {count} different rows for class {name}, got "
            f"{len(different)}"
        )
    return np.array(different, np.int64)
