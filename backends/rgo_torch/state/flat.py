"""A state as named tensors alone, as safetensors takes them, and back."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


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
