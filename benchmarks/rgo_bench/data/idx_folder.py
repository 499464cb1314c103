"""Folders that hold the four IDX files of an image set."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rgo_bench.data.idx import read_idx
from rgo_bench.data.image_set import ImageSet
from rgo_bench.data.places import found_in, is_clutter

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


# Where torchvision puts them, given its root or the data set's folder, among others.
SUBFOLDERS = (".", "mnist", "MNIST", "raw", "MNIST/raw", "mnist/raw")
# As published, or "emnist-digits-test-images-idx3-ubyte" and the like.
_NAME = re.compile(
    r"(?P<set>(?:[a-z0-9]+-)*?)(?P<part>train|t10k|test)-"
    r"(?P<kind>images[-.]idx3|labels[-.]idx1)-ubyte(?P<packed>\.gz)?",
    re.IGNORECASE,
)


def find_idx_files(folder: Path) -> dict[str, Path]:
    """Find the four IDX files in a folder or one of its `SUBFOLDERS`.

    A name may end in ``.gz`` or not, may be spelled ``train-images-idx3-ubyte`` or
    ``train-images.idx3-ubyte``, with ``test`` for ``t10k``, and may begin with the name
    of a set, as EMNIST's do. A folder of one of these names may hold the file.

    Parameters
    ----------
    folder : Path
        Where to look; it need not exist.

    Returns
    -------
    dict
        The path of each name of `FILES`.

    Raises
    ------
    FileNotFoundError
        If no folder has all four, or several sets lie in one and none is the one
        without a name.
    """
    places = (_files_in(folder / name) for name in SUBFOLDERS)
    files = max(places, key=len)  # the first of the fullest
    missing = [name for name in FILES if name not in files]
    if missing:
        raise FileNotFoundError(
            f"{folder}: expected the four IDX files of an image set (with or "
            f"without .gz) here or in a subfolder {', '.join(SUBFOLDERS[1:])}, got no "
            f"{', no '.join(missing)}; there is: {found_in(folder)}"
        )
    return files


def _files_in(folder: Path) -> dict[str, Path]:
    sets: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir(), key=_spelling) if folder.is_dir() else ():
        match = None if is_clutter(path) else _NAME.fullmatch(path.name)
        # Kaggle unpacks each file into a folder of its name.
        file = path / path.name if path.is_dir() else path
        if match is not None and file.is_file():
            part = "t10k" if match["part"].lower() == "test" else match["part"].lower()
            name = f"{part}-{match['kind'].lower().replace('.', '-')}-ubyte"
            sets.setdefault(match["set"].lower(), {}).setdefault(name, file)
    whole = [name for name, files in sets.items() if len(files) == len(FILES)]
    if len(whole) > 1 and "" not in whole:
        listed = ", ".join(sorted(name.rstrip("-") for name in whole))
        raise FileNotFoundError(
            f"{folder}: expected one image set, got {listed}: put the four files of "
            "one into a folder of their own"
        )
    found = sets.get("") or max(sets.values(), key=len, default={})
    if whole:
        found = sets["" if "" in whole else whole[0]]
    return {name: found[name] for name in FILES if name in found}


def _spelling(path: Path) -> tuple[bool, bool, str]:
    """Order the spellings of one file: dashes and unpacked ones come first."""
    return ".idx" in path.name, path.suffix == ".gz", path.name


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
