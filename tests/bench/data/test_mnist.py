import gzip
import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bench.small_images import NAMES, idx_bytes

from rgo_bench.data import ImageSet
from rgo_bench.data.idx import read_idx_files
from rgo_bench.data.mnist import (
    SHA256,
    download_mnist,
    fingerprint_mnist,
    load_mnist,
)


@pytest.fixture
def mirror(serve: Callable[[Path], str], idx_folder: Path) -> str:
    return serve(idx_folder)


@pytest.fixture
def checksums(idx_folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in idx_folder.glob("*.gz")
    }


def test_the_folder_named_is_read(idx_folder: Path, images: ImageSet) -> None:
    np.testing.assert_array_equal(load_mnist(idx_folder).train_images, images[0])


def test_a_folder_named_that_lacks_a_file_is_refused_at_once(
    idx_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = shutil.copytree(idx_folder, tmp_path / "whole")
    monkeypatch.setenv("RGO_DATA", str(whole))
    (idx_folder / f"{NAMES[1]}.gz").unlink()
    message = (
        f"{idx_folder}: expected the four IDX files of an image set (with or without "
        ".gz) here or in a subfolder mnist, MNIST, raw, MNIST/raw, mnist/raw, got no "
        f"{NAMES[1]}; there is: {NAMES[2]}.gz, {NAMES[3]}.gz, {NAMES[0]}.gz"
    )
    with pytest.raises(FileNotFoundError, match=re.escape(message)):
        load_mnist(idx_folder)


def test_the_environment_names_the_folder_before_the_cache(
    cache: Path, idx_folder: Path, images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(idx_folder, cache / "mnist")
    other = idx_bytes(np.zeros((30, 6, 6), np.uint8))
    (cache / "mnist" / f"{NAMES[0]}.gz").write_bytes(gzip.compress(other))
    monkeypatch.setenv("RGO_DATA", str(idx_folder))
    np.testing.assert_array_equal(load_mnist().train_images, images.train_images)


def test_the_cache_is_read_when_the_folder_of_the_environment_has_no_mnist(
    cache: Path,
    idx_folder: Path,
    images: ImageSet,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    shutil.copytree(idx_folder, cache / "mnist")
    monkeypatch.setenv("RGO_DATA", str(tmp_path / "absent"))
    np.testing.assert_array_equal(load_mnist().train_images, images.train_images)


def test_a_download_is_checked_and_can_be_read(
    mirror: str, checksums: dict[str, str], tmp_path: Path, images: ImageSet
) -> None:
    files = download_mnist(tmp_path / "new", mirror=mirror, checksums=checksums)
    assert {path.parent for path in files.values()} == {tmp_path / "new" / "mnist"}
    np.testing.assert_array_equal(read_idx_files(files).test_images, images.test_images)


def test_a_download_with_another_checksum_is_refused_and_leaves_no_file(
    mirror: str, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match="does not match the known hash"):
        download_mnist(tmp_path / "new", mirror=mirror)
    assert list((tmp_path / "new" / "mnist").iterdir()) == []


def test_a_failed_download_says_which_files_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RGO_DATA", "/nowhere")
    closed_port = "http://127.0.0.1:9/"
    with pytest.raises(FileNotFoundError, match="not on this machine") as caught:
        download_mnist(tmp_path, mirror=closed_port)
    message = str(caught.value)
    for part in (
        *SHA256,
        str(tmp_path / "mnist"),
        "--data",
        "RGO_DATA (now: /nowhere)",
    ):
        assert part in message
    assert closed_port in message


def test_a_cache_that_cannot_be_written_is_reported_with_the_same_advice(
    mirror: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match="Put these four files"):
        download_mnist(tmp_path / "file", mirror=mirror)


def test_a_fingerprint_is_that_of_the_bytes_whatever_the_folder(
    idx_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = shutil.copytree(idx_folder, tmp_path_factory.mktemp("other") / "mnist")
    assert fingerprint_mnist(other) == fingerprint_mnist(idx_folder)
    (other / f"{NAMES[3]}.gz").write_bytes(b"")
    assert fingerprint_mnist(other) != fingerprint_mnist(idx_folder)


def test_the_real_mnist_has_the_published_content(mnist_folder: Path) -> None:
    images = load_mnist(mnist_folder)
    assert images.train_images.shape == (60_000, 28, 28)
    assert images.test_images.shape == (10_000, 28, 28)
    assert images.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert images.classes == 10
    assert round(images.train_images.mean() / 255, 4) == 0.1307


def test_the_fingerprint_of_the_real_mnist_does_not_change(mnist_folder: Path) -> None:
    # It is part of the names of records.
    assert fingerprint_mnist(mnist_folder) == "c7052cfb"
