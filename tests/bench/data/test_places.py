from pathlib import Path

import pytest

from rgo_bench.data.places import (
    cache_folder,
    found_in,
    is_clutter,
    locate,
    place_advice,
)


def find(folder: Path) -> Path:
    if not (folder / "some").is_file():
        raise FileNotFoundError(f"{folder}: none")
    return folder


def with_some(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "some").touch()
    return folder


def test_the_folder_named_is_the_only_one(cache: Path, tmp_path: Path) -> None:
    with_some(cache)
    with pytest.raises(FileNotFoundError, match="none"):
        locate(find, tmp_path)
    assert locate(find, with_some(tmp_path)) == tmp_path


def test_the_environment_comes_before_the_cache(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert locate(find, None) is None
    with_some(cache)
    assert locate(find, None) == cache == cache_folder()
    monkeypatch.setenv("RGO_DATA", str(tmp_path))
    assert locate(find, None) == cache
    with_some(tmp_path)
    assert locate(find, None) == tmp_path


def test_a_tilde_is_the_home_folder(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    with_some(tmp_path / "data")
    assert locate(find, Path("~/data")) == tmp_path / "data"
    monkeypatch.setenv("RGO_DATA", "~/data")
    assert locate(find, None) == tmp_path / "data"


def test_what_is_found_in_place_of_a_data_set_is_told(tmp_path: Path) -> None:
    assert found_in(tmp_path / "absent") == "no such folder"
    archive = tmp_path / "cifar-100-python.tar.gz"
    archive.touch()
    assert found_in(archive) == (
        "an archive: unpack it, and name the folder that it makes"
    )
    (tmp_path / "notes").touch()
    assert found_in(tmp_path / "notes") == "a file"
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".DS_Store").touch()
    assert found_in(tmp_path / "empty") == "an empty folder"
    assert found_in(tmp_path) == (
        "cifar-100-python.tar.gz, empty/, notes; unpack cifar-100-python.tar.gz"
    )
    for name in "abcdefg":
        (tmp_path / "empty" / name).touch()
    assert found_in(tmp_path / "empty") == "a, b, c, d, e, f and 1 more"


@pytest.mark.parametrize(
    "name", ["._a.jpg", "__MACOSX", ".ipynb_checkpoints", "Thumbs.db", ".DS_Store"]
)
def test_what_systems_leave_is_clutter(name: str) -> None:
    assert is_clutter(Path("folder") / name)
    assert not is_clutter(Path(".hidden") / "n01")


@pytest.mark.parametrize(("named", "told"), [(None, "not set"), ("/a", "/a")])
def test_advice_says_what_the_environment_names(
    named: str | None, told: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if named:
        monkeypatch.setenv("RGO_DATA", named)
    assert place_advice("a file", Path("there")) == (
        "Put a file\ninto there, or into any folder named by --data or by the "
        f"environment variable RGO_DATA (now: {told})."
    )
