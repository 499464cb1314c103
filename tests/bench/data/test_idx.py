import gzip
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bench.small_images import idx_bytes
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rgo_bench.data.idx import read_idx

Write = Callable[[bytes], Path]
IMAGES = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


@given(
    array=hnp.arrays(np.uint8, hnp.array_shapes(max_dims=4, min_side=0)),
    compressed=st.booleans(),
)
def test_what_was_written_is_read_back_compressed_or_not(
    array: np.ndarray, compressed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = idx_bytes(array)
    path = tmp_path_factory.mktemp("idx") / "array"
    path.write_bytes(gzip.compress(content, mtime=0) if compressed else content)
    np.testing.assert_array_equal(read_idx(path), array, strict=True)


def test_compression_is_seen_from_the_content_and_not_from_the_name(
    tmp_path: Path,
) -> None:
    plain, packed = tmp_path / "images.gz", tmp_path / "images"
    plain.write_bytes(IMAGES)
    packed.write_bytes(gzip.compress(IMAGES, mtime=0))
    np.testing.assert_array_equal(read_idx(plain), read_idx(packed))


def test_the_array_can_be_written_to(idx_file: Write) -> None:
    assert read_idx(idx_file(IMAGES)).flags.writeable


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            IMAGES[:-5],
            "expected 2 x 3 x 4 = 24 bytes after the IDX header, got 19 (truncated)",
        ),
        (IMAGES + b"x", "expected 2 x 3 x 4 = 24 bytes .* got 25 (trailing bytes)"),
        (IMAGES[:9], "expected an IDX header of 16 bytes, got a file of 9 (truncated)"),
        (b"", "expected the magic number of an IDX file .* got an empty file"),
        (b"\x00\x00", "expected the magic number of an IDX file .* got 00 00"),
        (b"\x89PNG\r\n", "expected the magic number of an IDX file .* got 89 50 4e 47"),
        (
            b"\x00\x00\x07\x03",
            "expected the magic number of an IDX file .* 00 00 07 03",
        ),
        (
            b"\x00\x00\x0d\x01\x00\x00\x00\x01abcd",
            "expected IDX elements of type uint8, got float32",
        ),
        (
            gzip.compress(IMAGES, mtime=0)[:-12],
            "expected a whole gzip file, got broken data (Compressed file ended",
        ),
        (
            gzip.compress(IMAGES, mtime=0)[:-6] + b"\x00" * 6,
            "expected a whole gzip file, got broken data (CRC check failed",
        ),
        (
            gzip.compress(IMAGES, mtime=0)[:10] + b"\xff" * 20,
            "expected a whole gzip file, got broken data (Error -3",
        ),
    ],
)
def test_a_bad_file_is_named_with_what_was_expected_and_what_came(
    content: bytes, message: str, idx_file: Write
) -> None:
    path = idx_file(content)
    pattern = re.escape(f"{path}: {message}").replace(r"\.\*", ".*")
    with pytest.raises(ValueError, match=pattern):
        read_idx(path)


def test_labels_where_images_were_expected_are_refused(idx_file: Write) -> None:
    path = idx_file(idx_bytes(np.arange(5, dtype=np.uint8)))
    message = "expected an IDX array of 3 dimension(s), got 1"
    with pytest.raises(ValueError, match=re.escape(message)):
        read_idx(path, dimensions=3)


def test_a_file_that_is_not_there_is_reported_as_such(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        read_idx(tmp_path / "absent")
