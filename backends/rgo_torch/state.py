"""What a state of RGO is: checks at the door, and its flat form.

As nested dicts it serves `torch.save` and `torch.distributed.checkpoint`: what grows
from task to task stands in a tuple, which the latter keeps whole. Flat it is named
tensors alone, as safetensors takes them.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

# The first had neither options nor the parameters that were not observed yet.
VERSION = 2
KEYS = (
    *("version", "finished", "current", "encoding", "options"),
    *("parameters", "statistics"),
)


def checked_state(
    state: Mapping[str, Any],
    encoding: Mapping[str, Any] | None,
    options: Mapping[str, Any],
    names: Collection[str],
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
    names : collection of str
        The parameters that it must hold.
    strict : bool
        Whether the options must be these.
    grown : collection of str
        Modules that were not there, or had fewer outputs.

    Raises
    ------
    ValueError
        If it does not fit.
    """
    if not isinstance(state, Mapping):
        raise ValueError(f"not a state of RGO: got a {type(state).__name__}")
    if state.get("version") == 1:
        state = {"statistics": (), "options": None, **state, "version": VERSION}
        names = ()
    missing = [key for key in KEYS if key not in state]
    if missing:
        raise ValueError(f"not a state of RGO: it lacks {missing}")
    if state["version"] != VERSION:
        raise ValueError(
            f"expected a state of version 1 or {VERSION}, got {state['version']}"
        )
    _check_progress(state["finished"], state["current"])
    if state["encoding"] != encoding:
        raise ValueError(
            "the state's encoding is not this one's: expected "
            f"{encoding}, got {state['encoding']}"
        )
    if strict and state["options"] is not None:
        _check_options(state["options"], options)
    lacking = [
        name
        for name in names
        if name not in state["parameters"] and _module_of(name) not in grown
    ]
    if lacking:
        raise ValueError(
            f"the state lacks the parameters {lacking}; if their modules are new, name "
            "these in grown="
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


def flat_state(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return a state as tensors by flat names, for safetensors and the like.

    Parameters
    ----------
    state : mapping
        What `RGO.state_dict` returned.

    Returns
    -------
    dict of str to Tensor
        Contiguous ones that share no memory; what is no tensor stands in one of bytes.

    Examples
    --------
    >>> import torch, rgo_torch
    >>> model = torch.nn.Linear(3, 2)
    >>> rgo = rgo_torch.RGO(model, torch.optim.SGD(model.parameters(), lr=0.1))
    >>> sorted(rgo_torch.flat_state(rgo.state_dict()))[:3]
    ['parameters/bias/count', 'parameters/bias/matrix', 'parameters/bias/projection']
    """
    found = {
        f"parameters/{name}/{part}": tensor
        for name, entry in state["parameters"].items()
        for part, tensor in entry.items()
    }
    found |= {
        f"statistics/{task}/{part}": tensor
        for task, kept in enumerate(state["statistics"])
        for part, tensor in kept.items()
    }
    rest = {
        key: value
        for key, value in state.items()
        if key not in ("parameters", "statistics")
    }
    rest["tasks"] = len(state["statistics"])
    text = torch.frombuffer(bytearray(json.dumps(rest).encode()), dtype=torch.uint8)
    copies = {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in found.items()
    }
    return {**copies, "rest": text}


def nested_state(flat: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the state that `flat_state` made flat.

    Parameters
    ----------
    flat : mapping of str to Tensor

    Returns
    -------
    dict of str to object
        For `RGO.load_state_dict`.

    Raises
    ------
    ValueError
        If it is no such state.

    Examples
    --------
    >>> import torch, rgo_torch
    >>> model = torch.nn.Linear(3, 2)
    >>> rgo = rgo_torch.RGO(model, torch.optim.SGD(model.parameters(), lr=0.1))
    >>> flat = rgo_torch.flat_state(rgo.state_dict())
    >>> rgo.load_state_dict(rgo_torch.nested_state(flat))
    """
    if "rest" not in flat:
        raise ValueError(
            f"expected what flat_state made, with the name 'rest', got {sorted(flat)}"
        )
    rest = json.loads(bytes(flat["rest"].cpu().tolist()))
    parameters: dict[str, dict[str, Tensor]] = {}
    statistics: list[dict[str, Tensor]] = [{} for _ in range(rest.pop("tasks"))]
    for name, tensor in flat.items():
        kind, *path = name.split("/")
        if kind == "parameters":
            *owner, part = path
            parameters.setdefault("/".join(owner), {})[part] = tensor
        elif kind == "statistics":
            statistics[int(path[0])]["/".join(path[1:])] = tensor
    return {**rest, "parameters": parameters, "statistics": tuple(statistics)}


def _check_progress(finished: Any, current: Any) -> None:
    if not isinstance(finished, int) or finished < 0 or current not in (None, finished):
        raise ValueError(
            "not a state of RGO: expected a count of finished tasks and, as the "
            f"current one, that or None, got {finished!r} and {current!r}"
        )


def _check_options(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    others = [
        f"{key}={value!r} (here {expected.get(key)!r})"
        for key, value in found.items()
        if value != expected.get(key)
    ]
    if others:
        raise ValueError(
            f"the state was made with {', '.join(others)}: what was observed would not "
            "go with what follows; make the RGO with these, or pass strict=False to "
            "go on under its own"
        )


def _module_of(name: str) -> str:
    return name.rpartition(".")[0]
