"""Where data sets are looked for."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import platformdirs

ENVIRONMENT_VARIABLE = "RGO_DATA"
# What systems and tools leave among files, beside names that begin with a dot.
CLUTTER = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir"})
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")
SHOWN = 6  # names of a folder in an error

Found = TypeVar("Found")


def cache_folder() -> Path:
    """Return the folder of the user's cache that holds downloads and decoded images."""
    return Path(platformdirs.user_cache_dir("rgo"))


def locate(find: Callable[[Path], Found], data: Path | None) -> Found | None:
    """Return what `find` returns for the first folder in which it finds a data set.

    `find` raises FileNotFoundError where there is none. If given, `data` is the only
    folder to look in, and the error passes; ``~`` is the user's home. Else it is looked
    for in the folder that the environment variable ``RGO_DATA`` names, then in the
    user's cache; None if it is in neither.
    """
    if data is not None:
        return find(data.expanduser())
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    folders = [Path(named).expanduser()] if named else []
    for folder in [*folders, cache_folder()]:
        try:
            return find(folder)
        except FileNotFoundError:
            continue
    return None


def is_clutter(path: Path) -> bool:
    """Whether a file or folder is none of a data set's, as ``._*`` and ``__MACOSX``."""
    return path.name.startswith(".") or path.name in CLUTTER


def found_in(folder: Path) -> str:
    """Return what there is where a data set was looked for and not found.

    For the end of an error; tells what to do with an archive.
    """
    if not folder.is_dir():
        if folder.name.endswith(ARCHIVES) and folder.is_file():
            return "an archive: unpack it, and name the folder that it makes"
        return "a file" if folder.exists() else "no such folder"
    paths = sorted(path for path in folder.iterdir() if not is_clutter(path))
    if not paths:
        return "an empty folder"
    names = [f"{path.name}/" if path.is_dir() else path.name for path in paths]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    archives = [name for name in names if name.endswith(ARCHIVES)]
    advice = f"; unpack {', '.join(archives[:SHOWN])}" if archives else ""
    return f"{', '.join(names[:SHOWN])}{more}{advice}"


def place_advice(what: str, place: Path) -> str:
    """Return the sentence that tells a user what to put where."""
    named = os.environ.get(ENVIRONMENT_VARIABLE) or "not set"
    return (
        f"Put {what}\n"
        f"into {place}, or into any folder named by --data or by the environment "
        f"variable {ENVIRONMENT_VARIABLE} (now: {named})."
    )
