"""Who inverts which second moment, and how the others get the projection."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from torch import distributed

from rgo_torch.distributed.sums import global_rank, meeting_device
from rgo_torch.parameters.forms import empty_projection, projection_parts
from rgo_torch.parameters.parameter import ProjectedParameter, Projection


def inversion_cost(parameter: ProjectedParameter) -> int:
    """Return the multiplications of a projection: ``n^3``, ``n l^2`` or n a group."""
    n = parameter.features
    rows = min(n, parameter.bound.rows)
    each = {"full": n**3, "sketch": n * rows**2, "diagonal": n}[parameter.form]
    return math.prod(parameter.groups) * each


def find_owners(
    parameters: Mapping[str, ProjectedParameter], count: int
) -> dict[str, int]:
    """Return a worker for each parameter, so that all have about as much to invert.

    The dearest first, each to the worker that has least. The same on every worker.

    Parameters
    ----------
    parameters : mapping of str to ProjectedParameter
    count : int
        How many workers there are.

    Returns
    -------
    dict of str to int
        Ranks, by the names of the parameters.
    """
    loads = [0] * count
    owners = {}
    costs = {name: inversion_cost(p) for name, p in parameters.items()}
    for name in sorted(costs, key=lambda name: (-costs[name], name)):
        owners[name] = loads.index(min(loads))
        loads[owners[name]] += costs[name]
    return owners


def spread(
    mine: Mapping[str, Projection],
    names: Iterable[str],
    parameters: Mapping[str, ProjectedParameter],
    owners: Mapping[str, int],
    group: Any,
) -> dict[str, Projection]:
    """Return the projections of all workers, bit for bit as their owners made them.

    Parameters
    ----------
    mine : mapping of str to Tensor, DiagonalProjection or LowRankProjection
        What this worker made.
    names : iterable of str
        What all made, in the same order on every worker.
    parameters, owners : mapping
        By name.
    group : ProcessGroup or None
        The default group where None.

    Returns
    -------
    dict of str to Tensor, DiagonalProjection or LowRankProjection

    Notes
    -----
    ``n^2`` numbers of a matrix, in the dtype that it is applied in, from one to all.
    """
    rank, device = distributed.get_rank(group), meeting_device(group)
    found: dict[str, Projection] = {}
    for name in names:
        own = owners[name] == rank
        projection = mine[name] if own else empty_projection(parameters[name])
        for part in projection_parts(projection).values():
            sent = part.to(device)
            distributed.broadcast(sent, global_rank(group, owners[name]), group=group)
            if not own and sent is not part:
                part.copy_(sent)
        found[name] = projection
    return found
