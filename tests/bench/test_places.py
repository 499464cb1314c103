from pathlib import Path

import pytest

from rgo_bench.data.places import cache_folder, locate, place_advice


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
