"""What a state of RGO is, checked at the door.

Nested dicts, for `torch.save` and `torch.distributed.checkpoint`: what grows from task
to task stands in a tuple, which the latter keeps whole.
"""

from collections.abc import Collection, Mapping
from typing import Any

from rgo_core.scaling import NORMALIZE
from rgo_torch.options.observing import CHOSEN
from rgo_torch.parameters.projections import scalings
from rgo_torch.state.belonging import check_axes, check_encoding
from rgo_torch.state.read_weights import check_reads

# The first had neither options nor the parameters that were not observed yet.
VERSION = 2
KEYS = (
    *("version", "finished", "current", "encoding", "options"),
    *("parameters", "statistics"),
)

# The options that a projection depends on, beside its second moment.
PROJECTING = ("damping", "relative", "most", "weights", "biases")


def checked_state(
    state: Mapping[str, Any],
    encoding: Mapping[str, Any] | None,
    options: Mapping[str, Any],
    axes: Mapping[str, str],
    *,
    strict: bool,
    grown: Collection[str],
) -> dict[str, Any]:
    """Return a state of any version as one of this one's, checked.

    Parameters
    ----------
    state : mapping
    encoding, options : mapping
        What the encoding and the options must be.
    axes : mapping of str to str
        Those of the parameters that it must hold.
    strict : bool
        Whether the options must be these.
    grown : collection of str
        Parameters that were not there, or had fewer outputs.

    Raises
    ------
    ValueError
        If it does not fit.
    """
    held: Collection[str] = axes
    if not isinstance(state, Mapping):
        raise ValueError(f"not a state of RGO: got a {type(state).__name__}")
    if state.get("version") == 1:
        state = {"statistics": (), "options": None, **state, "version": VERSION}
        held = ()
    missing = [key for key in KEYS if key not in state]
    if missing:
        raise ValueError(f"not a state of RGO: it lacks {missing}")
    if state["version"] != VERSION:
        raise ValueError(
            f"expected a state of version 1 or {VERSION}, got {state['version']}"
        )
    _check_progress(state["finished"], state["current"])
    _check_kinds(state)
    check_reads(state.get("reads"))
    check_encoding(state["encoding"], encoding)
    if strict and state["options"] is not None:
        _check_options(state["options"], options)
    check_axes(state.get("axes") or {}, axes, grown)
    lacking = [
        name for name in held if name not in state["parameters"] and name not in grown
    ]
    if lacking:
        others = sorted(set(state["parameters"]) - set(axes))
        renamed = (
            f"; if they are {others} by other names, as after pruning, rename these in "
            "the state's 'parameters' and 'axes'"
        )
        raise ValueError(
            f"the state lacks the parameters {lacking}; if their modules are new, name "
            f"these in grown={renamed if others else ''}"
        )
    return dict(state)


def check_observed(finished: int, count: int) -> None:
    """Refuse a state that tells of tasks, and nothing that was seen in them.

    Raises
    ------
    ValueError
        If there are finished tasks, and no second moment.
    """
    if finished and not count:
        raise ValueError(
            f"the state has {finished} finished tasks, and no second moment of any "
            "parameter: nothing would be protected; was it loaded in part?"
        )


def is_projected_alike(
    found: Mapping[str, Any] | None, expected: Mapping[str, Any]
) -> bool:
    """Whether a state's options make the same projections; None: it tells none."""
    return found is not None and all(
        found.get(key) == expected[key] for key in PROJECTING
    )


def grown_names(grown: Collection[str], names: Collection[str]) -> set[str]:
    """Return the parameters of the modules that have grown.

    Raises
    ------
    ValueError
        If it is a string, or one is no module with protected parameters.
    """
    if isinstance(grown, str):
        raise ValueError(f"grown must be names in a list, got the string {grown!r}")
    modules = {_module_of(name) for name in names}
    unknown = sorted(set(grown) - modules)
    if unknown:
        raise ValueError(
            f"grown must name modules among {sorted(modules)}, got {unknown}"
        )
    return {name for name in names if _module_of(name) in grown}


def _check_progress(finished: Any, current: Any) -> None:
    if not isinstance(finished, int) or finished < 0 or current not in (None, finished):
        raise ValueError(
            "not a state of RGO: expected a count of finished tasks and, as the "
            f"current one, that or None, got {finished!r} and {current!r}"
        )


def _check_kinds(state: Mapping[str, Any]) -> None:
    for key, may_lack in (("parameters", False), ("options", True), ("axes", True)):
        part = state.get(key)
        if not isinstance(part, Mapping) and not (may_lack and part is None):
            raise ValueError(
                f"not a state of RGO: expected {key} by name, got a "
                f"{type(part).__name__}"
            )


def _check_options(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    # Of before a relative damping had a limit.
    found = {"most": None, **found}
    others = {key: v for key, v in found.items() if v != expected.get(key)}
    if others:
        told = (
            f"{key}={v!r} (here {expected.get(key)!r})" for key, v in others.items()
        )
        raise ValueError(
            f"the state was made with {', '.join(told)}: what was observed would not "
            f"go with what follows; make the RGO with {_written(found, others)}, or "
            "pass strict=False to go on under its own"
        )


def _written(found: Mapping[str, Any], others: Collection[str]) -> str:
    """Return those of a state's options that are others, as `RGO` takes them."""
    written = []
    if not {"damping", "relative", "most"}.isdisjoint(others):
        number, most = found.get("damping"), found.get("most")
        share = number if most is None else f"{number}, most={most}"
        damping = f"Relative({share})" if found.get("relative") else number
        written.append(f"damping={damping}")
    if not {"weights", "biases"}.isdisjoint(others):
        given = found.get("weights"), found.get("biases")
        fitting = [name for name in NORMALIZE if scalings(name) == given]
        written += [f"normalize={name!r}" for name in fitting]
    if "observe" in others or not set(CHOSEN).isdisjoint(others):
        function = found.get("observe", "second_moments")
        bound = [f"{k}={v!r}" for k in CHOSEN if (v := found.get(k)) is not None]
        written.append(f"observe=partial({', '.join([function, *bound])})")
    return ", ".join(written) or "these"


def _module_of(name: str) -> str:
    return name.rpartition(".")[0]
