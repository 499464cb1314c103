"""CIFAR-100: from a folder, from the user's cache, or from the network."""

import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rgo_bench.atomic import replace_file
from rgo_bench.data.array_pickle import described, read_array_pickle
from rgo_bench.data.download import download
from rgo_bench.data.fingerprint import content_fingerprint
from rgo_bench.data.image_set import ImageSet
from rgo_bench.data.places import cache_folder, found_in, locate, place_advice

URL: Final = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
CHECKSUM: Final = "md5:03b5dce01913d631647c71ecec9e9cb8"
BINARY: Final = "cifar-100-binary"
SUBFOLDERS: Final = (".", BINARY, "cifar-100-python", "cifar100")
SUFFIXES: Final = (".bin", "")  # of the binary version and of the pickles
COUNTS: Final[Mapping[str, int]] = {"train": 50_000, "test": 10_000}

_COARSE, _FINE = 20, 100  # classes
_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32
_RECORD = 2 + _PIXELS
# Of a pickle for each image: the pixels, which are text of up to two bytes each where
# Python 3 wrote protocol 2, and some for labels and the name of a file.
_LARGEST_RECORD = 2 * _PIXELS + 1024

# Images (N, 3, 32, 32), and their fine labels.
Images: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.int64]]


def load_cifar100(
    data: Path | None = None, *, counts: Mapping[str, int] = COUNTS
) -> ImageSet:
    """Read CIFAR-100's images (N, 3, 32, 32) with their fine labels.

    A folder holds the two files of the binary version (``train.bin`` and ``test.bin``)
    or the pickles for Python (``train`` and ``test``), itself or in a subfolder
    ``cifar-100-binary``, ``cifar-100-python`` or ``cifar100``. If given, `data` is the
    only folder to look in. Else they are looked for in the folder that the environment
    variable ``RGO_DATA`` names, then in the user's cache, and are then downloaded into
    that cache.
    """
    files = locate(find_cifar100, data) or download_cifar100(cache_folder())
    binary = files["train"].suffix == SUFFIXES[0]
    read = read_cifar_binary if binary else read_cifar_python
    train, test = (read(files[part], counts[part]) for part in ("train", "test"))
    return ImageSet(*train, *test)


def fingerprint_cifar100(folder: Path) -> str:
    """Return eight characters that tell a folder of other images apart."""
    return content_fingerprint(find_cifar100(folder))


def find_cifar100(folder: Path) -> dict[str, Path]:
    """Find the two files in a folder or its subfolders, the binary ones first."""
    for place in (folder / name for name in SUBFOLDERS):
        for suffix in SUFFIXES:
            files = {name: place / f"{name}{suffix}" for name in COUNTS}
            if all(path.is_file() for path in files.values()):
                return files
    raise FileNotFoundError(
        f"{folder}: expected train.bin and test.bin, or the pickles train and test, of "
        f"CIFAR-100 here or in a subfolder {', '.join(SUBFOLDERS[1:])}, got neither; "
        f"there is: {found_in(folder)}"
    )


def download_cifar100(
    folder: Path, *, url: str = URL, checksum: str = CHECKSUM
) -> dict[str, Path]:
    """Download the binary version into a subfolder; the archive is not kept.

    Of the archive nothing but the two files is written, each whole or not at all.
    """
    archive = folder / Path(url).name
    advice = (
        f"CIFAR-100 is not on this machine and could not be downloaded from {url}\n"
        f"{place_advice('train.bin and test.bin', folder / BINARY)}"
    )
    download(url, archive, checksum=checksum, advice=advice)
    files = {name: folder / BINARY / f"{name}.bin" for name in COUNTS}
    with tarfile.open(archive) as opened:
        for path in files.values():
            name = f"{BINARY}/{path.name}"
            member = opened.getmember(name) if name in opened.getnames() else None
            content = opened.extractfile(member) if member and member.isreg() else None
            if content is None:
                raise ValueError(f"{archive}: expected a file {name} in it, got none")
            replace_file(path, content.read())
    archive.unlink()
    return files


def read_cifar_binary(path: Path, count: int) -> Images:
    """Read so many images from a binary file, mapped and read-only.

    A record is a byte with the coarse label, one with the fine label, which is used,
    and 3072 pixels: the red ones row by row, then the green and the blue ones.
    """
    size = path.stat().st_size
    if size != count * _RECORD:
        raise ValueError(
            f"{path}: expected {count} records of {_RECORD} bytes = {count * _RECORD} "
            f"bytes, got {size}"
        )
    mapped = np.memmap(path, np.uint8, mode="r", shape=(count, _RECORD))
    records: NDArray[np.uint8] = np.asarray(mapped)
    _check_labels(path, records[:, 0], "coarse", _COARSE)
    _check_labels(path, records[:, 1], "fine", _FINE)
    return records[:, 2:].reshape(count, *_SHAPE), records[:, 1].astype(np.int64)


def read_cifar_python(path: Path, count: int) -> Images:
    """Read so many images from a pickle, of which nothing is run."""
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
    _check_labels(path, np.array(labels, object), "fine", _FINE)
    return images.reshape(count, *_SHAPE), np.array(labels, np.int64)


def _check_labels(
    path: Path, labels: NDArray[np.integer], kind: str, classes: int
) -> None:
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(bad):
        raise ValueError(
            f"{path}: expected {kind} labels from 0 to {classes - 1}, got "
            f"{labels[bad[0]]} at image {bad[0]}"
        )
