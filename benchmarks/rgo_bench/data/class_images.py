"""Images in classes of equal sizes, decoded once and kept as mapped arrays."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from rgo_bench.data.image_set import ImageSet
from rgo_bench.data.places import cache_folder


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
    def shapes(self) -> dict[str, tuple[int, int, int, int]]:
        """The shapes of all training and of all test images."""
        counts = {"train": self.train, "test": self.test}
        rest = (3, self.side, self.side)
        return {part: (self.classes * n, *rest) for part, n in counts.items()}


def cached_image_set(
    name: str, blocks: Iterable[NDArray[np.uint8]], sizes: ClassSizes
) -> ImageSet:
    """Return the images of classes, mapped into memory and read-only.

    They come class after class from the folder `name` in the user's cache. Only where
    that is missing are `blocks` asked for, the images (sizes.images, 3, side, side) of
    each class in the order of the labels. Nothing old is removed from the cache.
    """
    folder = cache_folder() / name
    if not folder.is_dir():
        _write(folder, blocks, sizes)
    train, test = (
        _open(folder / f"{part}.npy", shape) for part, shape in sizes.shapes.items()
    )
    labels = np.arange(sizes.classes)
    train_labels, test_labels = labels.repeat(sizes.train), labels.repeat(sizes.test)
    return ImageSet(train, train_labels, test, test_labels)


def _write(
    folder: Path, blocks: Iterable[NDArray[np.uint8]], sizes: ClassSizes
) -> None:
    """Fill a temporary folder, which is renamed when it is whole.

    Of two processes that write the same one, the second uses the first one's.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=folder.parent, prefix=f".{folder.name}.", ignore_cleanup_errors=True
    ) as temporary:
        part = Path(temporary)
        _fill(part, blocks, sizes)
        part.chmod(0o755)
        try:
            part.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise


def _fill(folder: Path, blocks: Iterable[NDArray[np.uint8]], sizes: ClassSizes) -> None:
    train, test = (
        open_memmap(folder / f"{part}.npy", "w+", np.uint8, shape)
        for part, shape in sizes.shapes.items()
    )
    for label, block in enumerate(blocks):
        train[label * sizes.train :][: sizes.train] = block[: sizes.train]
        test[label * sizes.test :][: sizes.test] = block[sizes.train :]
    train.flush()
    test.flush()


def _open(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
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
