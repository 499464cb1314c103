"""Where data sets are looked for."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import platformdirs

ENVIRONMENT_VARIABLE = "RGO_DATA"

Found = TypeVar("Found")


def cache_folder() -> Path:
    """Return the folder of the user's cache that holds downloads and decoded images."""
    return Path(platformdirs.user_cache_dir("rgo"))


def locate(find: Callable[[Path], Found], data: Path | None) -> Found | None:
    """Find a data set in the folder named, or else where data sets usually are.

    Parameters
    ----------
    find : callable
        Finds the data set in a folder, or raises FileNotFoundError.
    data : Path or None
        The only folder to look in. Where None, the folder that the environment
        variable ``RGO_DATA`` names is looked in, then the user's cache.

    Returns
    -------
    object or None
        What `find` returned; None when it is in none of the usual folders.

    Raises
    ------
    FileNotFoundError
        If it is not in `data`.
    """
    if data is not None:
        return find(data)
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    for folder in [Path(named), cache_folder()] if named else [cache_folder()]:
        try:
            return find(folder)
        except FileNotFoundError:
            continue
    return None


def place_advice(what: str, place: Path) -> str:
    """Return the sentence that tells a user what to put where."""
    named = os.environ.get(ENVIRONMENT_VARIABLE) or "not set"
    return (
        f"Put {what}\n"
        f"into {place}, or into any folder named by --data or by the environment "
        f"variable {ENVIRONMENT_VARIABLE} (now: {named})."
    )
