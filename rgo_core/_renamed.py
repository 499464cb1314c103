"""Names that functions had in 0.1.0, for one release more."""

import warnings
from collections.abc import Mapping

NEW = {
    "invert": "inverse_permutation",
    "merge": "merge_moments",
    "update": "update_projection",
}


def renamed(name: str, module: str, names: Mapping[str, object]) -> object:
    """Return what an old name of a module's stands for, with a warning.

    Raises
    ------
    AttributeError
        If it is no such name.
    """
    if name not in NEW:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    warnings.warn(
        f"{module}.{name} is {NEW[name]} now; the old name goes with the next release",
        DeprecationWarning,
        stacklevel=3,
    )
    return names[NEW[name]]
