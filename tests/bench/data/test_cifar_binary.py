import re
from pathlib import Path

import numpy as np
import pytest
from bench.small_archives import COUNTS, cifar_records, write_cifar_binary

from rgo_bench.data.cifar100 import read_cifar_binary


def test_pixels_are_red_green_blue_and_labels_are_the_fine_ones(tmp_path: Path) -> None:
    for part, path in write_cifar_binary(tmp_path).items():
        found, labels = read_cifar_binary(path, COUNTS[part])
        records = cifar_records(part)
        expected = records[:, 2:].reshape(-1, 3, 32, 32)
        np.testing.assert_array_equal(found, expected, strict=True)
        np.testing.assert_array_equal(labels, records[:, 1].astype(np.int64))
        assert labels.dtype == np.int64
        # The second row of green.
        np.testing.assert_array_equal(found[0, 1, 1], records[0, 2 + 1024 + 32 :][:32])


def test_images_are_mapped_and_can_not_be_written(tmp_path: Path) -> None:
    images, _ = read_cifar_binary(
        write_cifar_binary(tmp_path)["train"], COUNTS["train"]
    )
    base = images
    while not isinstance(base, np.memmap):
        assert base.base is not None
        base = base.base
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


@pytest.mark.parametrize("difference", [-1, 1, -3074])
def test_a_file_of_another_size_is_refused(difference: int, tmp_path: Path) -> None:
    files = write_cifar_binary(tmp_path)
    size = 7 * 3074 + difference
    content = files["train"].read_bytes() + b"\0"
    files["train"].write_bytes(content[:size])
    message = (
        f"{files['train']}: expected 7 records of 3074 bytes = 21518 bytes, got {size}"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        read_cifar_binary(files["train"], COUNTS["train"])


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (0, 20, "expected coarse labels from 0 to 19, got 20 at image 2"),
        (1, 100, "expected fine labels from 0 to 99, got 100 at image 2"),
    ],
)
def test_a_label_that_does_not_exist_is_refused(
    column: int, value: int, message: str, tmp_path: Path
) -> None:
    files = write_cifar_binary(tmp_path)
    records = cifar_records("test")
    records[2, column] = value
    files["test"].write_bytes(records.tobytes())
    with pytest.raises(ValueError, match=re.escape(f"{files['test']}: {message}")):
        read_cifar_binary(files["test"], COUNTS["test"])


def test_a_missing_file_is_reported_as_such(tmp_path: Path) -> None:
    files = write_cifar_binary(tmp_path)
    files["test"].unlink()
    with pytest.raises(FileNotFoundError, match=r"test\.bin"):
        read_cifar_binary(files["test"], COUNTS["test"])
