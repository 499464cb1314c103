"""Image sets of JPEG files: a folder for each class, or one folder and lists."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rgo_bench.data.class_images import ClassSizes
from rgo_bench.data.places import is_clutter

SPLITS: Final = ("train", "val", "test")
SUFFIXES: Final = (".jpg", ".jpeg")
IMAGES: Final = "images"
COLUMNS: Final = ("filename", "label")


def find_jpeg_classes(folder: Path) -> dict[str, list[Path]]:
    """Find the JPEG files of every class by its name, both in the order of names.

    A class is a folder of JPEG files, here or in a subfolder ``train``, ``val`` or
    ``test``; what lies there under one class's name is one class. What systems leave
    there (``._*``, ``__MACOSX`` and the like) is ignored.
    """
    classes: dict[str, list[Path]] = {}
    for parent in (folder, *(folder / split for split in SPLITS)):
        for place in parent.glob("*"):
            files = _jpeg_files(place)
            if files:
                classes.setdefault(place.name, []).extend(files)
    return _in_order(classes)


def find_lists(folder: Path) -> list[Path]:
    """Return the paths of the lists ``train.csv``, ``val.csv`` and ``test.csv``.

    None where there is no folder ``images`` of JPEG files beside them; where there is
    one, and a list is missing, FileNotFoundError.
    """
    if not _jpeg_files(folder / IMAGES):
        return []
    lists = [folder / f"{split}.csv" for split in SPLITS]
    missing = [path.name for path in lists if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder}: expected the lists {', '.join(path.name for path in lists)}, "
            f"of the columns {', '.join(COLUMNS)}, beside the images in {IMAGES}/, got "
            f"no {', no '.join(missing)}"
        )
    return lists


def read_lists(folder: Path, lists: list[Path]) -> dict[str, list[Path]]:
    """Return the files of every class that lists name, as `find_jpeg_classes` does."""
    there = {path.name: path for path in _jpeg_files(folder / IMAGES)}
    classes: dict[str, list[Path]] = {}
    seen: set[str] = set()
    for path in lists:
        for name, label in _rows(path):
            if name in seen or name not in there:
                raise ValueError(
                    f"{path}: expected each JPEG file of {IMAGES}/ at most once, got "
                    f"{name!r}, which is "
                    f"{'named twice' if name in seen else 'not there'}"
                )
            seen.add(name)
            classes.setdefault(label, []).append(there[name])
    return _in_order(classes)


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the file's name and the label of every row of a list."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if not {*COLUMNS} <= {*(rows.fieldnames or ())}:
            raise ValueError(
                f"{path}: expected the columns {' and '.join(COLUMNS)}, got "
                f"{', '.join(rows.fieldnames or ()) or 'none'}"
            )
        for row in rows:
            yield row["filename"], row["label"]


def _jpeg_files(folder: Path) -> list[Path]:
    """Return the JPEG files in a folder; none where it is no folder, or clutter."""
    if is_clutter(folder) or not folder.is_dir():
        return []
    return [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not is_clutter(path)
    ]


def _in_order(classes: Mapping[str, Sequence[Path]]) -> dict[str, list[Path]]:
    return {
        name: sorted(files, key=lambda path: path.name)
        for name, files in sorted(classes.items())
    }


def check_jpeg_classes(
    folder: Path, classes: Mapping[str, Sequence[Path]], sizes: ClassSizes
) -> None:
    """Raise unless there are as many classes and files as there must be."""
    if len(classes) != sizes.classes:
        others = " and others" if len(classes) > 3 else ""
        raise ValueError(
            f"{folder}: expected {sizes.classes} folders of JPEG files, one for each "
            f"class, got {len(classes)}: {', '.join(list(classes)[:3])}{others}"
        )
    for name, files in classes.items():
        if len(files) != sizes.images:
            raise ValueError(
                f"{folder}: expected {sizes.images} JPEG files of class {name}, got "
                f"{len(files)}"
            )


def read_jpeg_classes(
    classes: Mapping[str, Sequence[Path]], sizes: ClassSizes
) -> Iterator[NDArray[np.uint8]]:
    """Decode class after class: RGB images of shape (sizes.images, 3, side, side)."""
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
