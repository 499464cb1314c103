from pathlib import Path

import pytest

from rgo_bench.atomic import replace_file


def test_a_file_is_made_with_the_folders_that_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    replace_file(path, b"content")
    assert path.read_bytes() == b"content"


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(path, b"a longer content")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_no_temporary_file(tmp_path: Path) -> None:
    taken = tmp_path / "folder"
    (taken / "full").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        replace_file(taken, b"content")
    assert list(tmp_path.iterdir()) == [taken]


def test_a_reader_holding_the_old_file_still_reads_the_old_content(
    tmp_path: Path,
) -> None:
    path = tmp_path / "file"
    replace_file(path, b"old")
    with path.open("rb") as reader:
        replace_file(path, b"new")
        assert reader.read() == b"old"
