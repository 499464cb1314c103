import gzip
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bench.small_images import NAMES, idx_bytes
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rgo_bench.data import ImageSet
from rgo_bench.data.idx import find_idx_files, read_idx, read_idx_files

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


ALL = ", ".join(f"no {name}" for name in NAMES)


def write(folder: Path, files: dict[str, bytes], spell: str = "{name}") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        dotted = name.replace("-idx", ".idx")
        (folder / spell.format(name=name, dotted=dotted)).write_bytes(content)
    return folder


@pytest.mark.parametrize("spell", ["{name}", "{name}.gz", "{dotted}", "{dotted}.gz"])
@pytest.mark.parametrize("below", [".", "mnist", "MNIST", "raw", "MNIST/raw"])
def test_files_are_found_in_every_spelling_here_or_below(
    spell: str, below: str, tmp_path: Path, idx_files: dict[str, bytes]
) -> None:
    write(tmp_path / below, idx_files, spell)
    assert list(find_idx_files(tmp_path)) == list(NAMES)


def test_the_files_here_come_before_those_below(
    tmp_path: Path, idx_files: dict[str, bytes]
) -> None:
    write(tmp_path, idx_files)
    write(tmp_path / "mnist", idx_files)
    assert {path.parent for path in find_idx_files(tmp_path).values()} == {tmp_path}


def of_a_set(name: str, of: str) -> str:
    """The name of a file as EMNIST's publishers spell it."""
    return f"emnist-{of}-{name.replace('t10k', 'test')}"


def test_the_names_of_emnist_and_of_kaggle_are_known(
    tmp_path: Path, idx_files: dict[str, bytes]
) -> None:
    emnist = {of_a_set(name, "digits"): idx_files[name] for name in idx_files}
    files = find_idx_files(write(tmp_path / "emnist", emnist, "{name}.gz"))
    assert [path.name for path in files.values()] == [f"{name}.gz" for name in emnist]
    for name, content in idx_files.items():
        write(tmp_path / "kaggle" / name, {name: content})
    files = find_idx_files(tmp_path / "kaggle")
    assert [files[n] for n in NAMES] == [tmp_path / "kaggle" / n / n for n in NAMES]


def test_of_several_sets_in_one_folder_that_without_a_name_is_taken_or_none(
    tmp_path: Path, idx_files: dict[str, bytes]
) -> None:
    for of in ("digits", "letters"):
        write(tmp_path, {of_a_set(name, of): idx_files[name] for name in idx_files})
    message = "expected one image set, got emnist-digits, emnist-letters: put the four"
    with pytest.raises(FileNotFoundError, match=message):
        find_idx_files(tmp_path)
    write(tmp_path, idx_files)
    assert {path.name for path in find_idx_files(tmp_path).values()} == {*NAMES}


def test_what_systems_leave_among_the_files_is_ignored(
    tmp_path: Path, idx_files: dict[str, bytes]
) -> None:
    write(tmp_path, {f"._{name}": b"" for name in idx_files})
    with pytest.raises(
        FileNotFoundError, match=f"got {ALL}; there is: an empty folder"
    ):
        find_idx_files(tmp_path)
    write(tmp_path, idx_files)
    assert {path.name for path in find_idx_files(tmp_path).values()} == {*NAMES}


def test_what_is_missing_is_listed(tmp_path: Path, idx_files: dict[str, bytes]) -> None:
    del idx_files[NAMES[1]]
    with pytest.raises(FileNotFoundError, match=f"got no {NAMES[1]}; there is: "):
        find_idx_files(write(tmp_path, idx_files))
    with pytest.raises(FileNotFoundError, match=f"got {ALL}; there is: no such folder"):
        find_idx_files(tmp_path / "absent")


def test_four_files_make_an_image_set(idx_folder: Path, images: ImageSet) -> None:
    found = read_idx_files(find_idx_files(idx_folder))
    for mine, theirs in zip(found, images, strict=True):
        np.testing.assert_array_equal(mine, theirs, strict=True)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (
            NAMES[1],
            np.zeros(29, np.uint8),
            "train-images-idx3-ubyte.gz: expected images and as many labels, got 30 "
            "images and 29 labels",
        ),
        (
            NAMES[2],
            np.zeros((12, 6, 5), np.uint8),
            "t10k-images-idx3-ubyte.gz: expected test images of (6, 6) pixels as in "
            "train-images-idx3-ubyte.gz, got (6, 5)",
        ),
        (
            NAMES[0],
            np.zeros(30, np.uint8),
            "expected an IDX array of 3 dimension(s), got 1",
        ),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    name: str, array: np.ndarray, message: str, idx_folder: Path
) -> None:
    (idx_folder / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(array)))
    with pytest.raises(ValueError, match=re.escape(message)):
        read_idx_files(find_idx_files(idx_folder))


def test_a_set_without_images_is_refused(idx_folder: Path) -> None:
    for name, shape in ((NAMES[2], (0, 6, 6)), (NAMES[3], (0,))):
        content = idx_bytes(np.zeros(shape, np.uint8))
        (idx_folder / f"{name}.gz").write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match="got 0 images and 0 labels"):
        read_idx_files(find_idx_files(idx_folder))
