import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bench.small_archives import (
    SIZES,
    class_images,
    jpeg_paths,
    write_class_pickles,
    write_jpegs,
    write_listed,
)

from rgo_bench.data.miniimagenet import (
    find_miniimagenet,
    fingerprint_miniimagenet,
    load_miniimagenet,
)


@pytest.mark.parametrize("write", [write_jpegs, write_class_pickles])
@pytest.mark.parametrize("below", [".", "miniimagenet", "mini-imagenet"])
def test_pickles_and_folders_of_jpeg_files_are_read_here_or_below(
    write: Callable[[Path], object], below: str, tmp_path: Path, cache: Path
) -> None:
    write(tmp_path / below)
    images = load_miniimagenet(tmp_path, sizes=SIZES)
    for label in range(SIZES.classes):
        expected = class_images(label).transpose(0, 3, 1, 2).astype(int)
        train = images.train_images[images.train_labels == label].astype(int)
        test = images.test_images[images.test_labels == label].astype(int)
        assert abs(np.concatenate([train, test]) - expected).max() <= 3


def test_images_in_one_folder_with_lists_are_those_of_folders(
    tmp_path: Path, cache: Path
) -> None:
    folders = load_miniimagenet(write_jpegs(tmp_path / "a"), sizes=SIZES)
    listed = load_miniimagenet(write_listed(tmp_path / "b"), sizes=SIZES)
    for mine, theirs in zip(listed, folders, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    before = fingerprint_miniimagenet(tmp_path / "b")
    text = (tmp_path / "b" / "val.csv").read_text()
    (tmp_path / "b" / "val.csv").write_text(text.replace(",n02", ",n2"))
    assert fingerprint_miniimagenet(tmp_path / "b") != before


@pytest.mark.parametrize("split_at", [0, 4, 5])
def test_how_the_publisher_divided_a_class_does_not_matter(
    split_at: int, tmp_path: Path, cache: Path
) -> None:
    together = load_miniimagenet(write_jpegs(tmp_path / "a"), sizes=SIZES)
    divided = load_miniimagenet(write_jpegs(tmp_path / "b", split_at), sizes=SIZES)
    for mine, theirs in zip(divided, together, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def spoil_keeping_times(path: Path) -> None:
    """Make a file unreadable that is the same in a listing."""
    status = path.stat()
    path.write_bytes(bytes(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("write", [write_jpegs, write_class_pickles])
def test_the_second_time_no_file_is_decoded(
    write: Callable[[Path], object], tmp_path: Path, cache: Path
) -> None:
    write(tmp_path)
    first = load_miniimagenet(tmp_path, sizes=SIZES)
    files = find_miniimagenet(tmp_path).files
    for path in files:
        spoil_keeping_times(path)
    second = load_miniimagenet(tmp_path, sizes=SIZES)
    for mine, theirs in zip(second, first, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    os.utime(files[0], ns=(0, 0))
    with pytest.raises(ValueError, match=r"expected a (whole JPEG file|pickled dict)"):
        load_miniimagenet(tmp_path, sizes=SIZES)


def test_a_changed_file_is_decoded_again(tmp_path: Path, cache: Path) -> None:
    write_jpegs(tmp_path)
    before = load_miniimagenet(tmp_path, sizes=SIZES).train_images.copy()
    first, last = (jpeg_paths(tmp_path)["n01"][row] for row in (0, 3))
    shutil.copy(last, first)
    after = load_miniimagenet(tmp_path, sizes=SIZES).train_images
    np.testing.assert_array_equal(after[0], before[3])
    np.testing.assert_array_equal(after[1:], before[1:])


def test_classes_or_images_of_another_number_are_refused(
    tmp_path: Path, cache: Path
) -> None:
    write_jpegs(tmp_path)
    with pytest.raises(ValueError, match="expected 100 folders of JPEG files"):
        load_miniimagenet(tmp_path)


def test_a_folder_named_that_lacks_the_images_is_refused(
    tmp_path: Path, cache: Path
) -> None:
    write_jpegs(cache / "miniimagenet")
    message = (
        f"{tmp_path}: expected miniImageNet, as folders of JPEG files, as images/ "
        "beside lists, or as mini-imagenet-cache-train.pkl, "
        "mini-imagenet-cache-val.pkl, mini-imagenet-cache-test.pkl, here or in a "
        "subfolder miniimagenet or mini-imagenet, got neither; there is: an empty "
        "folder"
    )
    with pytest.raises(FileNotFoundError, match=re.escape(message)):
        load_miniimagenet(tmp_path, sizes=SIZES)
    assert len(load_miniimagenet(sizes=SIZES).train_labels) == 12


def test_nowhere_it_says_what_to_put_where(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RGO_DATA", "/nowhere")
    message = (
        "miniImageNet is not on this machine and cannot be downloaded.\n"
        "Put a folder of its 600 JPEG files of 84 x 84 pixels for each of its 100 "
        "classes,\nor its pickles mini-imagenet-cache-train.pkl, "
        "mini-imagenet-cache-val.pkl, mini-imagenet-cache-test.pkl\n"
        f"into {cache / 'miniimagenet'}, or into any folder named by --data or by the "
        "environment variable RGO_DATA (now: /nowhere)."
    )
    with pytest.raises(FileNotFoundError, match=re.escape(message)):
        load_miniimagenet()


@pytest.mark.parametrize("write", [write_jpegs, write_class_pickles])
def test_a_copy_has_the_same_fingerprint_and_other_images_another(
    write: Callable[[Path], object], tmp_path: Path
) -> None:
    write(tmp_path / "a")
    before = fingerprint_miniimagenet(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=shutil.copyfile)
    assert fingerprint_miniimagenet(tmp_path / "b") == before
    path = find_miniimagenet(tmp_path / "b").files[0]
    path.write_bytes(path.read_bytes() + b"\0")
    assert fingerprint_miniimagenet(tmp_path / "b") != before


def test_the_real_miniimagenet_has_600_images_of_100_classes(
    miniimagenet_folder: Path,
) -> None:
    images = load_miniimagenet(miniimagenet_folder)
    assert images.train_images.shape == (50_000, 3, 84, 84)
    assert images.test_images.shape == (10_000, 3, 84, 84)
    assert np.bincount(images.train_labels).tolist() == [500] * 100
    assert np.bincount(images.test_labels).tolist() == [100] * 100
    # Of ImageNet, red to blue: of 12 images of every class about the same.
    means = images.train_images[::40].mean(axis=(0, 2, 3)) / 255
    np.testing.assert_allclose(means, (0.485, 0.456, 0.406), atol=0.02)
