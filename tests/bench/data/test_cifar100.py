import hashlib
import io
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bench.small_archives import (
    COUNTS,
    cifar_records,
    write_cifar_binary,
    write_cifar_python,
)

from rgo_bench.data.cifar100 import (
    download_cifar100,
    find_cifar100,
    fingerprint_cifar100,
    load_cifar100,
)

WRITERS = [write_cifar_binary, write_cifar_python]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    "below", [".", "cifar-100-binary", "cifar-100-python", "cifar100"]
)
def test_both_versions_are_read_here_or_below(
    write: Callable[[Path], object], below: str, tmp_path: Path
) -> None:
    write(tmp_path / below)
    images = load_cifar100(tmp_path, counts=COUNTS)
    for part, found, labels in (
        ("train", images.train_images, images.train_labels),
        ("test", images.test_images, images.test_labels),
    ):
        records = cifar_records(part)
        expected = records[:, 2:].reshape(-1, 3, 32, 32)
        np.testing.assert_array_equal(found, expected, strict=True)
        np.testing.assert_array_equal(labels, records[:, 1].astype(np.int64))


def test_without_counts_the_files_must_have_the_size_of_cifar_100(
    tmp_path: Path,
) -> None:
    write_cifar_binary(tmp_path)
    with pytest.raises(ValueError, match="expected 50000 records of 3074 bytes"):
        load_cifar100(tmp_path)


def test_the_binary_version_comes_first_and_folders_are_no_files(
    tmp_path: Path,
) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    with pytest.raises(FileNotFoundError, match="got neither"):
        find_cifar100(tmp_path)
    write_cifar_python(tmp_path / "cifar100")
    write_cifar_binary(tmp_path / "cifar100")
    assert find_cifar100(tmp_path)["train"].name == "train.bin"


def test_a_folder_named_that_lacks_a_file_is_refused_at_once(
    tmp_path: Path, cache: Path
) -> None:
    write_cifar_binary(cache)
    write_cifar_binary(tmp_path)["test"].unlink()
    message = (
        f"{tmp_path}: expected train.bin and test.bin, or the pickles train and test, "
        "of CIFAR-100 here or in a subfolder cifar-100-binary, cifar-100-python, "
        "cifar100, got neither; there is: train.bin"
    )
    with pytest.raises(FileNotFoundError, match=re.escape(message)):
        load_cifar100(tmp_path, counts=COUNTS)


@pytest.mark.parametrize("write", WRITERS)
def test_archives_beside_the_folder_are_let_alone_and_alone_are_to_be_unpacked(
    write: Callable[[Path], object], tmp_path: Path
) -> None:
    for name in ("cifar-100-python.tar", "cifar-100-binary.tar.gz"):
        (tmp_path / name).touch()
    message = "got neither; there is: .*; unpack cifar-100-binary.tar.gz, cifar-100-py"
    with pytest.raises(FileNotFoundError, match=message):
        find_cifar100(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is: an archive: unpack it, and"):
        find_cifar100(tmp_path / "cifar-100-python.tar")
    write(tmp_path / "cifar-100-python")
    assert find_cifar100(tmp_path)["train"].parent.name == "cifar-100-python"


def test_it_is_looked_for_in_the_cache(cache: Path) -> None:
    write_cifar_binary(cache / "cifar-100-binary")
    assert len(load_cifar100(counts=COUNTS).train_labels) == 7


def test_files_of_other_content_have_another_fingerprint(tmp_path: Path) -> None:
    files = write_cifar_binary(tmp_path / "a")
    copied = shutil.copytree(tmp_path / "a", tmp_path / "b" / "cifar100")
    before = fingerprint_cifar100(tmp_path / "a")
    assert fingerprint_cifar100(copied.parent) == before
    files["test"].write_bytes(bytes(3074))
    assert fingerprint_cifar100(tmp_path / "a") != before


def archive(folder: Path, **files: bytes) -> tuple[str, str]:
    """Write an archive like the publisher's; return its name and checksum."""
    folder.mkdir()
    path = folder / "cifar-100-binary.tar.gz"
    with tarfile.open(path, "w:gz") as opened:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-100-binary/{name}.bin")
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))
        outside = tarfile.TarInfo("../outside")
        opened.addfile(outside)
    return path.name, f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}"


def test_a_download_is_checked_and_of_it_only_the_two_files_are_kept(
    serve: Callable[[Path], str], tmp_path: Path
) -> None:
    contents = {part: cifar_records(part).tobytes() for part in COUNTS}
    name, checksum = archive(tmp_path / "site", **contents)
    url = serve(tmp_path / "site") + name
    files = download_cifar100(tmp_path / "new", url=url, checksum=checksum)
    assert files == find_cifar100(tmp_path / "new")
    assert {part: files[part].read_bytes() for part in files} == contents
    kept = [path.name for path in (tmp_path / "new").rglob("*") if path.is_file()]
    assert sorted(kept) == ["test.bin", "train.bin"]
    assert not (tmp_path / "outside").exists()


def test_an_archive_that_lacks_a_file_is_refused(
    serve: Callable[[Path], str], tmp_path: Path
) -> None:
    name, checksum = archive(tmp_path / "site", train=b"")
    url = serve(tmp_path / "site") + name
    message = "expected a file cifar-100-binary/test.bin in it, got none"
    with pytest.raises(ValueError, match=re.escape(message)):
        download_cifar100(tmp_path / "new", url=url, checksum=checksum)
    with pytest.raises(FileNotFoundError, match="got neither"):
        find_cifar100(tmp_path / "new")


def test_a_failed_download_says_which_files_to_put_where(tmp_path: Path) -> None:
    closed_port = "http://127.0.0.1:9/cifar.tar.gz"
    with pytest.raises(FileNotFoundError, match="CIFAR-100 is not on") as caught:
        download_cifar100(tmp_path, url=closed_port)
    for part in (
        f"could not be downloaded from {closed_port}",
        "Put train.bin and test.bin\n",
        str(tmp_path / "cifar-100-binary"),
        "--data",
    ):
        assert part in str(caught.value)


def test_the_real_cifar_100_has_the_published_content(cifar100_folder: Path) -> None:
    images = load_cifar100(cifar100_folder)
    assert images.train_images.shape == (50_000, 3, 32, 32)
    assert images.test_images.shape == (10_000, 3, 32, 32)
    assert np.bincount(images.train_labels).tolist() == [500] * 100
    assert np.bincount(images.test_labels).tolist() == [100] * 100
    means = images.train_images.mean(axis=(0, 2, 3)) / 255
    # As is well known of the training images; these may have been compressed again.
    np.testing.assert_allclose(means, (0.5071, 0.4865, 0.4409), atol=0.001)
