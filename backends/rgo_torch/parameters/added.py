"""What a task adds to the second moments that are kept."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rgo_core import DiagonalMoment, SketchedMoment
from rgo_core._closing import Added
from rgo_torch.parameters.parameter import Moment


def added_to(
    earlier: Mapping[str, Moment], moments: Mapping[str, Any]
) -> dict[str, Added]:
    """Return what moments add to earlier ones, by the names of both."""
    found = {}
    for name, moment in moments.items():
        if not isinstance(moment, Moment):
            continue  # refused when projections are renewed
        traces = _traces(moment)
        trace = float(traces.sum())
        before = float(_traces(earlier[name]).sum()) if name in earlier else 0.0
        entries = traces.numel() * moment[0].shape[-1]
        found[name] = Added(trace, before + trace, entries)
    return found


def _traces(moment: Moment) -> Tensor:
    """Return the trace of H of each group."""
    if isinstance(moment, SketchedMoment):
        kept: Tensor = moment.trace
        return kept
    if isinstance(moment, DiagonalMoment):
        return torch.sum(moment.diagonal, dim=-1)
    return torch.diagonal(moment.matrix, dim1=-2, dim2=-1).sum(-1)
