import os
from pathlib import Path

from rgo_bench.data.fingerprint import content_fingerprint, listing_fingerprint


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_content_counts_and_where_it_lies_does_not(tmp_path: Path) -> None:
    one, two = write(tmp_path / "a" / "x", b"1"), write(tmp_path / "b" / "y", b"1")
    other = write(tmp_path / "z", b"2")
    print_of_one = content_fingerprint({"train": one, "test": other})
    assert content_fingerprint({"test": other, "train": two}) == print_of_one
    assert content_fingerprint({"test": one, "train": other}) != print_of_one
    assert len(print_of_one) == 8


def test_a_listing_counts_names_folders_sizes_and_times_if_asked(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "n01" / "x.jpg", b"1")
    copies = [
        write(tmp_path / folder / name, content)
        for folder, name, content in (
            ("n02", "x.jpg", b"1"),
            ("n01", "y.jpg", b"1"),
            ("n01/n01", "x.jpg", b"12"),
        )
    ]
    prints = {listing_fingerprint([each], times=False) for each in (path, *copies)}
    assert len(prints) == 4
    same = write(tmp_path / "other" / "n01" / "x.jpg", b"2")
    os.utime(same, ns=(0, 0))
    assert listing_fingerprint([same], times=False) in prints
    timed = {listing_fingerprint([each], times=True) for each in (path, same)}
    assert len(timed) == 2
