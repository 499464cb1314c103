"""Folders that hold the four IDX files of an image set."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rgo_bench.data.idx import read_idx
from rgo_bench.data.image_set import ImageSet

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def find_idx_files(folder: Path) -> dict[str, Path]:
    """Find the four IDX files in a folder, or in its subfolder ``mnist``.

    A name may end in ``.gz`` or not, and may be spelled ``train-images-idx3-ubyte``
    or ``train-images.idx3-ubyte``.

    Parameters
    ----------
    folder : Path
        Where to look; it need not exist.

    Returns
    -------
    dict
        The path of each name of `FILES` that was found: all four, or those of the
        folder that has more of them.
    """
    here, below = (_files_in(place) for place in (folder, folder / "mnist"))
    return here if len(here) >= len(below) else below


def _files_in(folder: Path) -> dict[str, Path]:
    found = {}
    for name in FILES:
        dotted = name.replace("-idx", ".idx")
        spellings = (name, f"{name}.gz", dotted, f"{dotted}.gz")
        present = [folder / each for each in spellings if (folder / each).is_file()]
        if present:
            found[name] = present[0]
    return found


def missing_files(files: Mapping[str, Path]) -> list[str]:
    """Return the names of `FILES` that are not among the files found."""
    return [name for name in FILES if name not in files]


def read_idx_files(files: Mapping[str, Path]) -> ImageSet:
    """Read the four IDX files of an image set.

    Parameters
    ----------
    files : mapping
        The path of each name of `FILES`.

    Returns
    -------
    ImageSet
        The images and the labels.

    Raises
    ------
    ValueError
        If a file is not a good IDX file, if the numbers of images and labels differ,
        if there are no images, or if training and test images differ in size.
    """
    train_images, train_labels, test_images, test_labels = (
        read_idx(files[name], dimensions=3 if "images" in name else 1) for name in FILES
    )
    train, test = files[FILES[0]], files[FILES[2]]
    for path, images, labels in (
        (train, train_images, train_labels),
        (test, test_images, test_labels),
    ):
        if len(images) == 0 or len(labels) != len(images):
            raise ValueError(
                f"{path}: expected images and as many labels, got {len(images)} "
                f"images and {len(labels)} labels"
            )
    if train_images.shape[1:] != test_images.shape[1:]:
        raise ValueError(
            f"{test}: expected test images of {train_images.shape[1:]} pixels as in "
            f"{train.name}, got {test_images.shape[1:]}"
        )
    return ImageSet(
        train_images,
        train_labels.astype(np.int64),
        test_images,
        test_labels.astype(np.int64),
    )
