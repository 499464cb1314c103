"""What a task adds to the second moments that are kept."""

from collections.abc import Mapping
from typing import Any

from array_api_compat import torch as xp

from rgo_core._closing import Added
from rgo_core.second_moment import traces
from rgo_torch.parameters.parameter import Moment


def added_to(
    earlier: Mapping[str, Moment], moments: Mapping[str, Any]
) -> dict[str, Added]:
    """Return what moments add to earlier ones, by the names of both."""
    found = {}
    for name, moment in moments.items():
        if not isinstance(moment, Moment):
            continue  # refused when projections are renewed
        total = trace = traces(moment, xp).cpu()
        if name in earlier:
            total = trace + traces(earlier[name], xp).cpu()
        n = moment[0].shape[-1]
        found[name] = Added(float(trace.sum()), total.numpy(), n)
    return found
