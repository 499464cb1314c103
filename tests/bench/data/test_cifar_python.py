import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.small_archives import COUNTS, write_cifar_binary, write_cifar_python

from rgo_bench.data.cifar100 import Images, read_cifar_binary, read_cifar_python


def assert_same(mine: Images, theirs: Images) -> None:
    for one, other in zip(mine, theirs, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)


def test_the_pickles_hold_what_the_binary_files_hold(tmp_path: Path) -> None:
    pickled, binary = write_cifar_python(tmp_path), write_cifar_binary(tmp_path)
    for part, count in COUNTS.items():
        found = read_cifar_python(pickled[part], count)
        assert_same(found, read_cifar_binary(binary[part], count))


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("keys", ["latin1", "bytes"])
def test_pickles_that_were_saved_again_hold_the_same(
    keys: str, protocol: int, tmp_path: Path
) -> None:
    files = write_cifar_python(tmp_path)
    for part, path in files.items():
        expected = read_cifar_python(path, COUNTS[part])
        content = pickle.loads(path.read_bytes(), encoding=keys)
        label = "fine_labels" if keys == "latin1" else b"fine_labels"
        if protocol % 2:
            content[label] = np.asarray(content[label])
        path.write_bytes(pickle.dumps(content, protocol))
        assert_same(read_cifar_python(path, COUNTS[part]), expected)


GOOD: dict[str, Any] = {
    "data": np.zeros((7, 3072), np.uint8),
    "fine_labels": [0, 1, 2, 3, 4, 5, 99],
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": None}, "expected 'data' of 7 x 3072 bytes, got none"),
        ({"data": [1]}, "expected 'data' of 7 x 3072 bytes, got a list of 1"),
        (
            {"data": np.zeros((6, 3072), np.uint8)},
            "expected 'data' of 7 x 3072 bytes, got an array of 6 x 3072 uint8",
        ),
        (
            {"data": np.zeros((7, 768), np.int32)},
            "expected 'data' of 7 x 3072 bytes, got an array of 7 x 768 int32",
        ),
        (
            {"fine_labels": b"1234567"},
            "expected 'fine_labels' of 7 whole numbers, got a bytes",
        ),
        (
            {"fine_labels": [0] * 6},
            "expected 'fine_labels' of 7 whole numbers, got a list of 6",
        ),
        (
            {"fine_labels": [0] * 6 + [True]},
            "expected 'fine_labels' of 7 whole numbers, got a list of 7",
        ),
        (
            {"fine_labels": [0] * 6 + [100]},
            "expected fine labels from 0 to 99, got 100 at image 6",
        ),
        (
            {"fine_labels": [0, -(2**70), 0, 0, 0, 0, 0]},
            f"expected fine labels from 0 to 99, got {-(2**70)} at image 1",
        ),
    ],
)
def test_a_pickle_without_the_images_or_labels_is_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    files = write_cifar_python(tmp_path)
    files["train"].write_bytes(pickle.dumps(GOOD))
    read_cifar_python(files["train"], COUNTS["train"])
    files["train"].write_bytes(pickle.dumps(GOOD | changes))
    with pytest.raises(ValueError, match=re.escape(f"{files['train']}: {message}")):
        read_cifar_python(files["train"], COUNTS["train"])


def test_a_file_larger_than_its_images_is_not_read(tmp_path: Path) -> None:
    files = write_cifar_python(tmp_path)
    files["test"].write_bytes(bytes(3 * 7168 + 1))
    with pytest.raises(ValueError, match="pickle of 1 to 21504 bytes, got 21505 bytes"):
        read_cifar_python(files["test"], COUNTS["test"])
