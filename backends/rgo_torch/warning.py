"""Warnings that point at the line of whoever called this package."""

import sys
import warnings


def warn_caller(message: str) -> None:
    """Warn of a line that is not this package's: the nearest caller outside of it."""
    level, frame = 2, sys._getframe(1)
    while (before := frame.f_back) is not None and _is_own(frame.f_globals):
        level, frame = level + 1, before
    warnings.warn(message, stacklevel=level - 1)


def _is_own(names: dict[str, object]) -> bool:
    return str(names.get("__name__")).partition(".")[0] == "rgo_torch"
