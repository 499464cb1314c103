import re
from pathlib import Path

import pytest
from bench.small_archives import CLASS_NAMES, write_listed

from rgo_bench.data.jpeg_classes import find_lists, read_lists


def test_the_files_of_a_class_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    write_listed(tmp_path)
    (tmp_path / "images" / "._n010000.jpg").touch()
    classes = read_lists(tmp_path, find_lists(tmp_path))
    assert list(classes) == list(CLASS_NAMES)
    for name, paths in classes.items():
        assert [path.name for path in paths] == [
            f"{name}{row:04}.jpg" for row in range(6)
        ]


def test_without_a_folder_of_images_there_are_no_lists(tmp_path: Path) -> None:
    assert find_lists(tmp_path / "absent") == []
    (tmp_path / "train.csv").write_text("filename,label\n")
    assert find_lists(tmp_path) == []


def test_a_list_that_is_missing_is_named(tmp_path: Path) -> None:
    write_listed(tmp_path)
    (tmp_path / "val.csv").unlink()
    message = (
        f"{tmp_path}: expected the lists train.csv, val.csv, test.csv, of the columns "
        "filename, label, beside the images in images/, got no val.csv"
    )
    with pytest.raises(FileNotFoundError, match=re.escape(message)):
        find_lists(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\n", "expected the columns filename and label, got file, label"),
        ("", "expected the columns filename and label, got none"),
        ("filename,label\nn09.jpg,n09\n", "got 'n09.jpg', which is not there"),
        (
            "filename,label\nn010000.jpg,n01\nn010000.jpg,n01\n",
            "expected each JPEG file of images/ at most once, got 'n010000.jpg', which "
            "is named twice",
        ),
    ],
)
def test_a_list_of_another_form_is_refused(
    text: str, message: str, tmp_path: Path
) -> None:
    write_listed(tmp_path)
    (tmp_path / "train.csv").write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)):
        read_lists(tmp_path, find_lists(tmp_path))
