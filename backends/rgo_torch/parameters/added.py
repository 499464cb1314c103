"""What a task adds to the second moments that are kept."""

from collections.abc import Mapping
from typing import Any

from array_api_compat import torch as xp

from rgo_core._closing import Added, traces
from rgo_torch.parameters.parameter import Moment


def added_to(
    earlier: Mapping[str, Moment], moments: Mapping[str, Any]
) -> dict[str, Added]:
    """Return what moments add to earlier ones, by the names of both."""
    found = {}
    for name, moment in moments.items():
        if not isinstance(moment, Moment):
            continue  # refused when projections are renewed
        of_groups = traces(moment, xp)
        trace = float(of_groups.sum())
        before = float(traces(earlier[name], xp).sum()) if name in earlier else 0.0
        entries = of_groups.numel() * moment[0].shape[-1]
        found[name] = Added(trace, before + trace, entries)
    return found
