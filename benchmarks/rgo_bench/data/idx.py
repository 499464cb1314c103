"""The IDX format of MNIST and its relatives."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

UINT8 = 0x08
_ELEMENT_TYPES = {
    UINT8: "uint8",
    0x09: "int8",
    0x0B: "int16",
    0x0C: "int32",
    0x0D: "float32",
    0x0E: "float64",
}
_GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: Path, *, dimensions: int | None = None) -> NDArray[np.uint8]:
    """Read an IDX file of bytes, compressed by gzip or not.

    Whether the file is compressed is seen from its content, not from its name.

    Parameters
    ----------
    path : Path
        The file.
    dimensions : int, optional
        The number of dimensions that the array must have: 3 for images, 1 for
        labels.

    Returns
    -------
    array of uint8
        A fresh, writable array of the shape that the file states.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the gzip data are broken, the header is not that of an IDX file of bytes,
        the number of dimensions is another, or the file is longer or shorter than
        its header says.
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
    _check_length(path, shape, len(content) - offset)
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
    if magic[2] != UINT8:
        raise ValueError(
            f"{path}: expected IDX elements of type uint8, got "
            f"{_ELEMENT_TYPES[magic[2]]}"
        )
    return magic[3]


def _check_length(path: Path, shape: tuple[int, ...], length: int) -> None:
    expected = math.prod(shape)
    if length != expected:
        reason = "truncated" if length < expected else "trailing bytes"
        size = " x ".join(str(side) for side in shape)
        raise ValueError(
            f"{path}: expected {size} = {expected} bytes after the IDX header, got "
            f"{length} ({reason})"
        )
