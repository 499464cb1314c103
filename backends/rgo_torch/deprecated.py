"""Options that have other names since 0.1.0, for one release more."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple, TypedDict

from rgo_core import damping
from rgo_core.curvature import Curvature
from rgo_core.vectors import Per, Reduce
from rgo_torch.curvature import second_moments
from rgo_torch.observing import CHOSEN, Observe

# What to write in place of each.
NEW = {
    "relative": damping.NEW_RELATIVE,
    **{name: f"observe=partial(second_moments, {name}=...)" for name in CHOSEN},
    "biases": "normalize='all' or 'weights'",
    "exclude": "unencoded",
}


class Old(TypedDict, total=False):
    """The options of 0.1.0 that `RGO` takes by another name now."""

    relative: bool
    per: Per
    reduce: Reduce
    curvature: Curvature
    biases: str
    exclude: Iterable[str] | None


class New(NamedTuple):
    """What they say in today's options."""

    relative: bool | None
    observe: Observe | None
    normalize: Any
    unencoded: Iterable[str] | None


def translated(
    old: Mapping[str, Any], observe: Any, normalize: Any, unencoded: Any
) -> New:
    """Return the options that old names and new ones give together.

    Raises
    ------
    TypeError
        If a name is unknown, or one option was given by both.

    Warns
    -----
    DeprecationWarning
        Of each old name.
    """
    new = {"observe": observe, "normalize": normalize, "unencoded": unencoded}
    told = dict.fromkeys(CHOSEN, "observe")
    told |= {"biases": "normalize", "exclude": "unencoded"}
    check_names(old)
    for name in old:
        if new.get(told.get(name, "")) is not None:
            raise TypeError(
                f"{name} is the old name of {told[name]}: give the new one alone"
            )
    bound = {name: old[name] for name in CHOSEN if name in old}
    if bound:
        observe = partial(second_moments, **bound)
    if "biases" in old:
        normalize = normalize_of(old["biases"])
    if old.get("exclude") is not None:
        unencoded = old["exclude"]
    for name in old:
        warn_renamed(name, stacklevel=3)
    return New(old.get("relative"), observe, normalize, unencoded)


def check_names(old: Iterable[str]) -> None:
    """Raise TypeError where an option is none of 0.1.0's either."""
    for name in old:
        if name not in NEW:
            raise TypeError(f"RGO has no option {name!r}")


def normalize_of(biases: str) -> Literal["all"] | None:
    """Return what `normalize` is where 0.1.0 had `biases`.

    Raises
    ------
    ValueError
        If it is neither "raw" nor "normalized".
    """
    if biases not in ("raw", "normalized"):
        raise ValueError(f"biases must be 'raw' or 'normalized', got {biases!r}")
    return "all" if biases == "normalized" else None


def warn_renamed(name: str, *, stacklevel: int) -> None:
    """Warn that an option has another name, where the user's own code gives it."""
    damping.warn_renamed(name, NEW[name], stacklevel=stacklevel + 1)
