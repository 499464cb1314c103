"""Warnings that point at the line of whoever called this package."""

import inspect
import warnings


def warn_caller(message: str) -> None:
    """Warn of a line that is not this package's: the nearest caller outside of it."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and _is_own(frame.f_globals):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


def _is_own(names: dict[str, object]) -> bool:
    return str(names.get("__name__")).partition(".")[0] == "rgo_torch"
