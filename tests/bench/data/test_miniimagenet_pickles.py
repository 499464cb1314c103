import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.small_archives import SIZES, class_images, class_pickle, write_class_pickles

from rgo_bench.data.miniimagenet_pickles import FILES, read_pickled_classes


def test_classes_come_in_the_order_of_their_names_over_all_files(
    tmp_path: Path,
) -> None:
    blocks = list(read_pickled_classes(write_class_pickles(tmp_path), SIZES))
    assert len(blocks) == 3
    for label, block in enumerate(blocks):
        np.testing.assert_array_equal(block, class_images(label).transpose(0, 3, 1, 2))


@pytest.mark.parametrize("protocol", [2, 5])
def test_rows_of_classes_in_one_file_may_take_turns(
    protocol: int, tmp_path: Path
) -> None:
    files = write_class_pickles(tmp_path)
    files[FILES[1]].write_bytes(class_pickle((1, 0), protocol))
    files[FILES[2]].write_bytes(pickled({"class_dict": {}}))
    blocks = read_pickled_classes(files, SIZES)
    for label, block in enumerate(blocks):
        np.testing.assert_array_equal(block, class_images(label).transpose(0, 3, 1, 2))


def pickled(changes: dict[str, Any]) -> bytes:
    content = {
        "image_data": np.zeros((6, 8, 8, 3), np.uint8),
        "class_dict": {"n03": np.arange(6)},
    }
    return pickle.dumps(content | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"image_data": np.zeros((6, 8, 9, 3), np.uint8)},
            "expected 'image_data' of N x 8 x 8 x 3 bytes, got an array of 6 x 8 x "
            "9 x 3 uint8",
        ),
        (
            {"image_data": np.zeros((6, 8, 8, 3), np.int32)},
            "expected 'image_data' of N x 8 x 8 x 3 bytes, got an array of 6 x 8 x "
            "8 x 3 int32",
        ),
        (
            {"image_data": [1]},
            "expected 'image_data' of N x 8 x 8 x 3 bytes, got a list of 1",
        ),
        (
            {"class_dict": [1]},
            "expected 'class_dict', a dictionary of classes, got a list of 1",
        ),
        (
            {"class_dict": {"n03": [0, 1, 2, 3, 4, 6]}},
            "expected rows from 0 to 5 for class n03, got others",
        ),
        (
            {"class_dict": {"n03": [-1, 1, 2, 3, 4, 5]}},
            "expected rows from 0 to 5 for class n03, got others",
        ),
        (
            {"class_dict": {"n03": "012345"}},
            "expected rows from 0 to 5 for class n03, got others",
        ),
        (
            {"class_dict": {"n03": [0, 1, 2, 3, 4]}},
            "expected 6 different rows for class n03, got 5",
        ),
        (
            {"class_dict": {"n03": [0, 1, 2, 3, 4, 4]}},
            "expected 6 different rows for class n03, got 5",
        ),
    ],
)
def test_pickles_of_another_form_are_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    files = write_class_pickles(tmp_path)
    path = files[FILES[2]]
    path.write_bytes(pickled(changes))
    with pytest.raises(ValueError, match=re.escape(f"{path}: {message}")):
        list(read_pickled_classes(files, SIZES))


def test_a_class_in_two_files_is_refused(tmp_path: Path) -> None:
    files = write_class_pickles(tmp_path)
    files[FILES[1]].write_bytes(files[FILES[0]].read_bytes())
    message = f"{files[FILES[1]]}: expected no class twice, got n03 again"
    with pytest.raises(ValueError, match=re.escape(message)):
        list(read_pickled_classes(files, SIZES))


def test_missing_classes_are_refused(tmp_path: Path) -> None:
    files = write_class_pickles(tmp_path)
    files[FILES[0]].write_bytes(pickled({"class_dict": {}}))
    message = f"{tmp_path}: expected 3 classes in {', '.join(FILES)}, got 2"
    with pytest.raises(ValueError, match=re.escape(message)):
        list(read_pickled_classes(files, SIZES))


def test_a_file_larger_than_all_images_is_not_read(tmp_path: Path) -> None:
    files = write_class_pickles(tmp_path)
    limit = 3 * 6 * (8 * 8 * 6 + 1024)
    files[FILES[0]].write_bytes(bytes(limit + 1))
    with pytest.raises(ValueError, match=f"1 to {limit} bytes, got {limit + 1} bytes"):
        list(read_pickled_classes(files, SIZES))
