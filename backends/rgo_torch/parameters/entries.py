"""What a state holds of one parameter: checked against it, and grown with it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rgo_torch.parameters.forms import (
    check_parts,
    empty_moment,
    fresh_parts,
    kept,
    placed_moment,
    projection_form,
    projection_parts,
)
from rgo_torch.parameters.parameter import Moment, ProjectedParameter, Projection


def is_fresh(parameter: ProjectedParameter, entry: Mapping[str, Tensor]) -> bool:
    """Whether nothing was observed in an entry of a state: P is the identity.

    It is looked at where it lies, before it is moved to a device that would wait.
    """
    if int(entry["count"].sum()):
        return False
    fresh = fresh_parts(parameter)
    return all(torch.equal(entry[key].to(p.device), p) for key, p in fresh.items())


def is_identity(parameter: ProjectedParameter, projection: Projection) -> bool:
    """Whether a projection leaves all as it is."""
    fresh = fresh_parts(parameter)
    parts = projection_parts(projection)
    return all(torch.equal(part, fresh[key]) for key, part in parts.items())


def grown(parameter: ProjectedParameter, entry: Any) -> Any:
    """Return an entry of a state as that of a vector, or a table, with more entries.

    ``H`` of the new ones is zero and P the identity, which meet no old ones.
    """
    grows = parameter.is_vector or parameter.is_looked_up
    if not (grows and isinstance(entry, Mapping)):
        return entry
    fresh = fresh_parts(parameter)
    found = dict(entry)
    for key, part in entry.items():
        after = fresh.get(key)
        if not isinstance(part, Tensor) or after is None or not part.ndim:
            continue
        if part.ndim == after.ndim and part.shape[-1] < after.shape[-1]:
            old = tuple(slice(length) for length in part.shape)
            found[key] = after.to(part.device, part.dtype)
            found[key][old] = part
    return found


def loaded(parameter: ProjectedParameter, entry: Any) -> tuple[Moment, Projection]:
    """Return the second moment and the projection of an entry of a state, copied.

    Raises
    ------
    ValueError
        If it has other parts than the parameter's, or other shapes.
    TypeError
        If its second moment is not in float64.
    """
    empty = empty_moment(parameter)
    expected = {key: tuple(part.shape) for key, part in empty._asdict().items()}
    projection = loaded_projection(parameter, entry, expected)
    moment = type(empty)(*(_copied(entry[key]) for key in empty._fields))
    return placed_moment(parameter, moment), projection


def loaded_projection(
    parameter: ProjectedParameter,
    entry: Any,
    others: Mapping[str, tuple[int, ...]] | None = None,
) -> Projection:
    """Return the projection of an entry of a state that may hold no more, copied.

    Parameters
    ----------
    entry : mapping of str to Tensor
    others : mapping of str to tuple of int, optional
        What else it must hold, by shape.

    Raises
    ------
    ValueError
        If it lacks a part, or one has another shape.
    """
    kind, shapes = projection_form(parameter)
    expected = {**(others or {}), **shapes}
    parts = entry if isinstance(entry, Mapping) else {}
    if not all(isinstance(parts.get(key), Tensor) for key in expected):
        raise ValueError(
            f"{parameter.name}: expected a state with the tensors {list(expected)}, "
            f"got {list(parts) or type(entry).__name__}"
        )
    check_parts(parameter, {key: parts[key] for key in expected}, expected)
    return kept(parameter, kind(*(_copied(parts[key]) for key in shapes)))


def _copied(part: Tensor) -> Tensor:
    """Return a tensor in memory of its own, where it lies.

    That of a state may be a file that is written anew, and where it begins (safetensors
    does not align it) decides the last bits of a product.
    """
    return part.detach().clone()
