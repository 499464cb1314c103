"""The end of a task that several workers trained, each on its share of the data."""

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any

import torch
from torch import Tensor, distributed
from torch.utils._pytree import tree_map_only

import rgo_core
from rgo_torch import RGO
from rgo_torch.parameters import Moment
from rgo_torch.score import Score


def end_task_together(
    rgo: RGO,
    batches: Iterable[Any],
    *,
    mask: Tensor | None = None,
    score: Score | None = None,
) -> None:
    """End the task with what all workers of the process group have seen.

    Parameters
    ----------
    rgo : RGO
    batches, mask, score
        As for `rgo_torch.RGO.end_task`; `batches` are this worker's.

    Notes
    -----
    Every worker merges the same moments in the same order, and so gets the same P.
    They travel one parameter at a time: ``n^2`` float64 numbers of each worker.
    """
    moments = rgo.observe(batches, mask=mask, score=score)
    if distributed.is_available() and distributed.is_initialized():
        moments = _merged(moments)
    rgo.consolidate(moments)


def _merged(moments: Mapping[str, Moment]) -> dict[str, Moment]:
    names = [name for part in _everyone(list(moments)) for name in part]
    merged = {}
    for name in dict.fromkeys(names):
        mine = tree_map_only(torch.Tensor, torch.Tensor.cpu, moments.get(name))
        parts = [part for part in _everyone(mine) if part is not None]
        merged[name] = reduce(rgo_core.merge, parts)
    return merged


def _everyone(mine: Any) -> list[Any]:
    """Return what each worker gave, in the order of their ranks."""
    everyone: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(everyone, mine)
    return everyone
