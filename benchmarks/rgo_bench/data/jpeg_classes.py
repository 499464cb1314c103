"""Image sets that are a folder of JPEG files for each class."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rgo_bench.data.class_images import ClassSizes
from rgo_bench.data.places import is_clutter

SPLITS: Final = ("train", "val", "test")
SUFFIXES: Final = (".jpg", ".jpeg")


def find_jpeg_classes(folder: Path) -> dict[str, list[Path]]:
    """Find the JPEG files of every class.

    A class is a folder of JPEG files, here or in a subfolder ``train``, ``val`` or
    ``test``; what lies there under one class's name is one class. What systems leave
    there (``._*``, ``__MACOSX`` and the like) is ignored.

    Parameters
    ----------
    folder : Path
        Where to look; it need not exist.

    Returns
    -------
    dict
        The files of each class, in the order of their names, by the class's name, in
        that order.
    """
    classes: dict[str, list[Path]] = {}
    for parent in (folder, *(folder / split for split in SPLITS)):
        for place in parent.glob("*"):
            files = jpeg_files(place)
            if files:
                classes.setdefault(place.name, []).extend(files)
    return in_order(classes)


def in_order(classes: Mapping[str, Sequence[Path]]) -> dict[str, list[Path]]:
    """Return the classes in the order of their names, each with its files in theirs."""
    return {
        name: sorted(files, key=lambda path: path.name)
        for name, files in sorted(classes.items())
    }


def jpeg_files(folder: Path) -> list[Path]:
    """Return the JPEG files in a folder; none where it is no folder, or clutter."""
    if is_clutter(folder) or not folder.is_dir():
        return []
    return [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not is_clutter(path)
    ]


def check_jpeg_classes(
    folder: Path, classes: Mapping[str, Sequence[Path]], sizes: ClassSizes
) -> None:
    """Raise unless there are as many classes and files as there must be."""
    if len(classes) != sizes.classes:
        raise ValueError(
            f"{folder}: expected {sizes.classes} folders of JPEG files, one for each "
            f"class, got {len(classes)}: {_listed(classes)}"
        )
    for name, files in classes.items():
        if len(files) != sizes.images:
            raise ValueError(
                f"{folder}: expected {sizes.images} JPEG files of class {name}, got "
                f"{len(files)}"
            )


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:3])
    return f"{shown} and others" if len(names) > 3 else shown


def read_jpeg_classes(
    classes: Mapping[str, Sequence[Path]], sizes: ClassSizes
) -> Iterator[NDArray[np.uint8]]:
    """Decode class after class.

    Yields
    ------
    array of uint8
        The images of a class, of shape ``(sizes.images, *sizes.shape)``, RGB.

    Raises
    ------
    ValueError
        If a file is not a whole JPEG image of the size.
    """
    for files in classes.values():
        yield np.stack([_decode(path, sizes.side) for path in files])


def _decode(path: Path, side: int) -> NDArray[np.uint8]:
    try:
        with Image.open(path, formats=("JPEG",)) as image:
            size = image.size
            # A larger one is not even decoded.
            pixels = np.asarray(image.convert("RGB")) if size == (side, side) else None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: expected a whole JPEG file, got {error}") from error
    if pixels is None:
        raise ValueError(
            f"{path}: expected an image of {side} x {side} pixels, got "
            f"{size[0]} x {size[1]}"
        )
    return pixels.transpose(2, 0, 1)
