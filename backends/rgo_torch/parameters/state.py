"""What a projector keeps, as a state of plain tensors, and back."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from rgo_torch.parameters.entries import grown as grown_entry
from rgo_torch.parameters.entries import (
    is_fresh,
    is_identity,
    loaded,
    loaded_projection,
)
from rgo_torch.parameters.forms import fresh_parts, projection_parts
from rgo_torch.parameters.parameter import Moment, ProjectedParameter, Projection
from rgo_torch.parameters.projections import Projections


def parts_of(projections: Projections) -> dict[str, Any]:
    """Return the tensors of every parameter: those of the start where it has no own.

    The second moments that other workers keep are left out.
    """
    return {
        name: {
            **projections.moments[name]._asdict(),
            **projection_parts(projections.projections[name]),
        }
        if name in projections.moments
        else _without_moment(projections, parameter)
        for name, parameter in projections.observed.items()
    }


@torch.inference_mode(False)  # autograd keeps no others
def loaded_parts(
    projections: Projections, state: Mapping[str, Any], grown: Collection[str] = ()
) -> tuple[dict[str, Moment], dict[str, Projection]]:
    """Return copies of the moments and projections that a state holds, checked.

    Parameters
    ----------
    projections : Projections
        Into which they may be set; left as they are.
    state : mapping
    grown : collection of str
        Parameters that may have had fewer outputs.

    Raises
    ------
    ValueError
        If it is no such state, belongs to another network or holds NaN or infinity.
    TypeError
        If second moments in it are not in float64.
    """
    if not isinstance(state, Mapping):
        raise ValueError(
            "expected the state of a projector, the tensors of each parameter by its "
            f"name, got a {type(state).__name__}"
        )
    moments: dict[str, Moment] = {}
    found: dict[str, Projection] = {}
    owned = projections.owned
    for name, entry in state.items():
        if name not in projections.observed:
            raise ValueError(
                f"the state is of another network: it has {name!r}, this model has "
                f"{sorted(projections.observed)}"
            )
        parameter = projections.observed[name]
        given = grown_entry(parameter, entry) if name in grown else entry
        if owned is not None and name not in owned:
            projection = loaded_projection(parameter, given)
            if not is_identity(parameter, projection):
                found[name] = projection
            continue
        both = loaded(parameter, given)
        if not is_fresh(parameter, given):
            moments[name], found[name] = both
    return moments, found


def _without_moment(
    projections: Projections, parameter: ProjectedParameter
) -> dict[str, Tensor]:
    owned = projections.owned
    if owned is None or parameter.name in owned:
        return fresh_parts(parameter)
    kept = projections.projections.get(parameter.name)
    if kept is None:
        fresh = fresh_parts(parameter)
        return {key: fresh[key] for key in fresh if key.startswith("projection")}
    return projection_parts(kept)
