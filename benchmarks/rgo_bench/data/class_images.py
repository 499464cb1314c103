"""Images in classes of equal sizes, decoded once and kept as mapped arrays."""

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from rgo_bench.data.image_set import ImageSet
from rgo_bench.data.places import cache_folder

PARTS = ("train", "test")


class ClassSizes(NamedTuple):
    """How many images of which size there are."""

    classes: int
    train: int  # images of a class that are for training: its first
    test: int  # images of a class that are for testing: its last
    side: int  # pixels

    @property
    def images(self) -> int:
        """The images of a class."""
        return self.train + self.test

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of one image."""
        return (3, self.side, self.side)


def cached_image_set(
    name: str, blocks: Iterable[NDArray[np.uint8]], sizes: ClassSizes
) -> ImageSet:
    """Return the images of classes, from the user's cache when they are there.

    Parameters
    ----------
    name : str
        The folder in the cache: another one for other images.
    blocks : iterable of array
        The images of each class, of shape ``(sizes.images, *sizes.shape)``, in the
        order of the labels. Asked for only when the cache lacks them.
    sizes : ClassSizes

    Returns
    -------
    ImageSet
        Images of shape ``(N, 3, side, side)``, mapped into memory and read-only, class
        after class.

    Raises
    ------
    OSError
        If the cache cannot be written.
    ValueError
        If a file in the cache is damaged.

    Notes
    -----
    The arrays are written into a temporary folder that is renamed when it is whole;
    of two processes that write the same one, the second uses the first one's. Nothing
    old is removed from the cache.
    """
    folder = cache_folder() / name
    if not folder.is_dir():
        _write(folder, blocks, sizes)
    train, test = (_open(folder / f"{part}.npy", sizes, part) for part in PARTS)
    labels = np.arange(sizes.classes)
    train_labels, test_labels = labels.repeat(sizes.train), labels.repeat(sizes.test)
    return ImageSet(train, train_labels, test, test_labels)


def _write(
    folder: Path, blocks: Iterable[NDArray[np.uint8]], sizes: ClassSizes
) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        _fill(part, blocks, sizes)
        part.chmod(0o755)
        try:
            part.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _fill(folder: Path, blocks: Iterable[NDArray[np.uint8]], sizes: ClassSizes) -> None:
    train, test = (
        open_memmap(folder / f"{part}.npy", "w+", np.uint8, _shape(sizes, part))
        for part in PARTS
    )
    for label, block in enumerate(blocks):
        train[label * sizes.train :][: sizes.train] = block[: sizes.train]
        test[label * sizes.test :][: sizes.test] = block[sizes.train :]
    train.flush()
    test.flush()


def _open(path: Path, sizes: ClassSizes, part: str) -> NDArray[np.uint8]:
    shape = _shape(sizes, part)
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        found = str(error)
    else:
        if array.shape == shape and array.dtype == np.uint8:
            return np.asarray(array)
        found = f"{array.shape} {array.dtype}"
    raise ValueError(
        f"{path}: expected decoded images of shape {shape}, got {found}; remove the "
        f"folder {path.parent}, and it is made again"
    )


def _shape(sizes: ClassSizes, part: str) -> tuple[int, ...]:
    count = sizes.train if part == "train" else sizes.test
    return (sizes.classes * count, *sizes.shape)
