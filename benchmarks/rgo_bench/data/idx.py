"""Image sets in the form of MNIST's: four files in the IDX format."""

import gzip
import math
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
    r"(?P<kind>images[-.]idx3|labels[-.]idx1)-ubyte(\.gz)?",
    re.IGNORECASE,
)
_ELEMENT_TYPES = {
    0x08: "uint8",
    0x09: "int8",
    0x0B: "int16",
    0x0C: "int32",
    0x0D: "float32",
    0x0E: "float64",
}
_GZIP_MAGIC = b"\x1f\x8b"


def find_idx_files(folder: Path) -> dict[str, Path]:
    """Find each of `FILES` in a folder or one of its `SUBFOLDERS`.

    A name may end in ``.gz`` or not, may be spelled ``train-images-idx3-ubyte`` or
    ``train-images.idx3-ubyte``, with ``test`` for ``t10k``, and may begin with the name
    of a set, as EMNIST's do. A folder of one of these names may hold the file. Of
    several whole sets in one folder the one without a name is taken; where all have
    names, none is.
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
    """Read an image set from the path of each of `FILES`."""
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


def read_idx(path: Path, *, dimensions: int | None = None) -> NDArray[np.uint8]:
    """Read an IDX file of bytes into a fresh, writable array of the shape it states.

    Whether gzip compressed it is seen from its content, not from its name. Refused is
    what is broken, of another element type or number of `dimensions`, or longer or
    shorter than its header says.
    """
    content = _decompress(path, path.read_bytes())
    rank = _rank(path, content)
    if dimensions is not None and rank != dimensions:
        raise ValueError(
            f"{path}: expected an IDX array of {dimensions} dimension(s), got {rank}"
        )
    offset = 4 + 4 * rank
    if len(content) < offset:
        raise ValueError(
            f"{path}: expected an IDX header of {offset} bytes, got a file of "
            f"{len(content)} (truncated)"
        )
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", rank, offset=4))
    expected, length = math.prod(shape), len(content) - offset
    if length != expected:
        reason = "truncated" if length < expected else "trailing bytes"
        size = " x ".join(str(side) for side in shape)
        raise ValueError(
            f"{path}: expected {size} = {expected} bytes after the IDX header, got "
            f"{length} ({reason})"
        )
    return np.frombuffer(content, np.uint8, offset=offset).reshape(shape).copy()


def _decompress(path: Path, content: bytes) -> bytes:
    if not content.startswith(_GZIP_MAGIC):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{path}: expected a whole gzip file, got broken data ({error})"
        ) from error


def _rank(path: Path, content: bytes) -> int:
    """Check the magic number and return the number of dimensions that it states."""
    magic = content[:4]
    if len(magic) < 4 or magic[:2] != b"\x00\x00" or magic[2] not in _ELEMENT_TYPES:
        raise ValueError(
            f"{path}: expected the magic number of an IDX file (00 00, type, "
            f"dimensions), got {magic.hex(' ') or 'an empty file'}"
        )
    if _ELEMENT_TYPES[magic[2]] != "uint8":
        raise ValueError(
            f"{path}: expected IDX elements of type uint8, got "
            f"{_ELEMENT_TYPES[magic[2]]}"
        )
    return magic[3]
