"""Image sets that are one folder of JPEG files, and lists that tell their classes."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rgo_bench.data.jpeg_classes import SPLITS, in_order, jpeg_files

IMAGES: Final = "images"
COLUMNS: Final = ("filename", "label")


def find_lists(folder: Path) -> list[Path]:
    """Return the paths of the lists ``train.csv``, ``val.csv`` and ``test.csv``.

    Parameters
    ----------
    folder : Path
        Where to look; it need not exist.

    Returns
    -------
    list of Path
        Empty where there is no folder ``images`` of JPEG files beside them.

    Raises
    ------
    FileNotFoundError
        If there is such a folder, and a list is missing.
    """
    if not jpeg_files(folder / IMAGES):
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
    """Return the JPEG files of every class that lists name.

    Returns
    -------
    dict
        The files of each class, in the order of their names, by the class's name, in
        that order.

    Raises
    ------
    ValueError
        If a list has not the two columns, or names a file twice or one that is not
        there.
    """
    there = {path.name: path for path in jpeg_files(folder / IMAGES)}
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
    return in_order(classes)


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
