"""Options that have other names since 0.1.0, for one release more."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypedDict

from rgo_core.cotangents import Curvature
from rgo_core.damping import NEW_RELATIVE, Damping, flagged, warn_renamed
from rgo_core.scaling import NEW_BIASES, Normalize, with_biases
from rgo_core.vectors import Per, Reduce
from rgo_torch.observation.curvature_pass import second_moments
from rgo_torch.options.observing import CHOSEN, Observe

# What to write in place of each.
NEW = {
    "relative": NEW_RELATIVE,
    **{name: f"observe=partial(second_moments, {name}=...)" for name in CHOSEN},
    "biases": NEW_BIASES,
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

    damping: Damping | None
    relative: bool | None
    observe: Observe | None
    normalize: Normalize | None
    unencoded: Iterable[str] | None


def translated(
    old: Mapping[str, Any],
    damping: Damping | None,
    observe: Any,
    normalize: Any,
    unencoded: Any,
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
    new = {"observe": observe, "unencoded": unencoded}
    told = dict.fromkeys(CHOSEN, "observe")
    told["exclude"] = "unencoded"
    check_names(old)
    for name in old:
        if new.get(told.get(name, "")) is not None:
            raise TypeError(
                f"{name} is the old name of {told[name]}: give the new one alone"
            )
    bound = {name: old[name] for name in CHOSEN if name in old}
    if bound:
        observe = partial(second_moments, **bound)
    relative = old.get("relative")
    if relative is not None and damping is not None:
        damping = flagged(damping, relative)
    normalize = with_biases(normalize, old.get("biases"), stacklevel=3)
    if old.get("exclude") is not None:
        unencoded = old["exclude"]
    for name in old:
        if name != "biases":
            warn_renamed(name, NEW[name], stacklevel=3)
    return New(damping, relative, observe, normalize, unencoded)


def check_names(old: Iterable[str]) -> None:
    """Raise TypeError where an option is none of 0.1.0's either."""
    for name in old:
        if name not in NEW:
            raise TypeError(f"RGO has no option {name!r}; see help(rgo_torch.RGO)")
