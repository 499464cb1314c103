import re
from pathlib import Path

import numpy as np
import pytest
from bench.small_archives import (
    CLASS_NAMES,
    SIZES,
    class_images,
    jpeg_paths,
    write_jpegs,
    write_listed,
)
from PIL import Image

from rgo_bench.data.jpeg_classes import (
    check_jpeg_classes,
    find_jpeg_classes,
    find_lists,
    read_jpeg_classes,
    read_lists,
)


@pytest.mark.parametrize("split_at", [None, 0, 4])
def test_files_of_a_class_are_gathered_from_all_folders_in_the_order_of_names(
    split_at: int | None, tmp_path: Path
) -> None:
    write_jpegs(tmp_path, split_at)
    classes = find_jpeg_classes(tmp_path)
    assert list(classes) == list(CLASS_NAMES)
    assert classes == jpeg_paths(tmp_path, split_at)


def test_classes_may_differ_between_the_folders(tmp_path: Path) -> None:
    write_jpegs(tmp_path)
    for split, name in zip(("val", "test", "train"), CLASS_NAMES, strict=True):
        (tmp_path / split).mkdir()
        (tmp_path / name).rename(tmp_path / split / name)
    assert list(find_jpeg_classes(tmp_path)) == list(CLASS_NAMES)


def test_other_files_and_folders_without_images_are_no_classes(tmp_path: Path) -> None:
    write_jpegs(tmp_path)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-images-idx3-ubyte.gz").touch()
    (tmp_path / CLASS_NAMES[0] / "notes.txt").touch()
    (tmp_path / "labels.csv").touch()
    assert find_jpeg_classes(tmp_path) == jpeg_paths(tmp_path)
    assert find_jpeg_classes(tmp_path / "absent") == {}


def test_what_systems_leave_among_folders_and_images_is_ignored(tmp_path: Path) -> None:
    write_jpegs(tmp_path)
    for place in (tmp_path, tmp_path / CLASS_NAMES[0]):
        for folder in ("__MACOSX", ".ipynb_checkpoints"):
            (place / folder).mkdir()
            (place / folder / "n01.jpg").touch()
        for file in ("._n01.jpg", "Thumbs.db", "desktop.ini"):
            (place / file).touch()
    assert find_jpeg_classes(tmp_path) == jpeg_paths(tmp_path)


def test_a_class_is_decoded_to_rgb(tmp_path: Path) -> None:
    classes = find_jpeg_classes(write_jpegs(tmp_path))
    for label, block in enumerate(read_jpeg_classes(classes, SIZES)):
        assert (block.shape, block.dtype) == ((6, 3, 8, 8), np.uint8)
        # A single color survives JPEG but for rounding, in YCbCr and back.
        expected = class_images(label).transpose(0, 3, 1, 2).astype(int)
        assert abs(block.astype(int) - expected).max() <= 3


def test_a_grey_image_gets_three_equal_channels(tmp_path: Path) -> None:
    classes = find_jpeg_classes(write_jpegs(tmp_path))
    Image.new("L", (8, 8), 77).save(classes["n01"][0])
    block = next(read_jpeg_classes(classes, SIZES))
    assert np.unique(block[0]).tolist() == [77]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "class",
            "expected 3 folders of JPEG files, one for each class, got 2: n01, n03",
        ),
        ("file", "expected 6 JPEG files of class n02, got 5"),
    ],
)
def test_missing_classes_or_files_are_refused(
    change: str, message: str, tmp_path: Path
) -> None:
    classes = jpeg_paths(tmp_path)
    check_jpeg_classes(tmp_path, classes, SIZES)
    classes["n02"].pop()
    if change == "class":
        del classes["n02"]
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path}: {message}")):
        check_jpeg_classes(tmp_path, classes, SIZES)


def spoil(path: Path, how: str) -> None:
    if how == "size":
        Image.new("RGB", (9, 8)).save(path)
    elif how == "format":
        Image.new("RGB", (8, 8)).save(path, format="PNG")
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    else:
        path.write_bytes(b"")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("size", "expected an image of 8 x 8 pixels, got 9 x 8"),
        ("format", "expected a whole JPEG file, got cannot identify image file"),
        ("empty", "expected a whole JPEG file, got cannot identify image file"),
        ("cut", "expected a whole JPEG file, got "),
    ],
)
def test_a_file_that_is_no_such_image_is_refused(
    how: str, message: str, tmp_path: Path
) -> None:
    classes = find_jpeg_classes(write_jpegs(tmp_path))
    path = classes["n02"][3]
    spoil(path, how)
    with pytest.raises(ValueError, match=re.escape(f"{path}: {message}")):
        list(read_jpeg_classes(classes, SIZES))


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
