"""Small batches joined, where each sample is observed as if it were alone.

A pass over batches of ten samples takes most of its time between the products: as many
calls, graphs and folds as there are batches.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rgo_core.vectors import Per
from rgo_torch.layers.transformed import TransformedLayer
from rgo_torch.modules.trees import leaves_of
from rgo_torch.observation.calls import Calls
from rgo_torch.observation.chunks import SampleScore
from rgo_torch.observation.score import Score

# More gain little, and take memory.
MOST_SAMPLES = 1024
# Of what is kept of a batch: 8 MiB in float32, beside what training needs.
MOST_ENTRIES = 2**21


def may_join(model: nn.Module, score: Score | None, per: Per | None) -> bool:
    """Whether vectors are of samples alone, which come along the first axis.

    What tells otherwise is a score of one's own, or a module with time first.
    """
    alone = score is None or isinstance(score, SampleScore)
    batch_first = all(getattr(m, "batch_first", True) for m in model.modules())
    return alone and per != "batch" and batch_first


def most_samples(calls: Calls, count: int) -> int:
    """Return up to how many samples batches may be joined, after a first one.

    None are where a layer has one vector for a batch: there would be fewer. What is
    called again for its samples may turn out to have, after a first batch of one.
    """
    if not count or any(layer.sums_samples for layer in calls):
        return 0
    if count == 1 and any(isinstance(layer, TransformedLayer) for layer in calls):
        return 0
    kept = [
        (call.args, call.kwargs, call.gradients)
        for of_layer in calls.values()
        for call in of_layer
    ]
    entries = sum(leaf.numel() for leaf in leaves_of(kept) if isinstance(leaf, Tensor))
    return min(MOST_SAMPLES, MOST_ENTRIES * count // max(entries, 1))


def are_alike(batch: Any, other: Any) -> bool:
    """Whether two batches of tensors differ in their samples alone."""
    if type(batch) is not type(other) or type(batch) not in (list, tuple, dict):
        return False
    if isinstance(batch, dict):
        if batch.keys() != other.keys():
            return False
        batch, other = batch.values(), [other[key] for key in batch]
    return len(batch) == len(other) and all(
        _are_alike(mine, its) for mine, its in zip(batch, other, strict=True)
    )


def _are_alike(mine: Any, its: Any) -> bool:
    if not isinstance(mine, Tensor) or not isinstance(its, Tensor):
        return type(mine) is type(its) and not isinstance(mine, Tensor) and mine == its
    if mine.is_nested or its.is_nested:
        return False
    return (
        mine.shape[1:] == its.shape[1:]
        and (mine.dtype, mine.device) == (its.dtype, its.device)
        and mine.layout == its.layout == torch.strided
    )


def joined(batches: Sequence[Any]) -> Any:
    """Return one batch with the samples of several that are alike."""
    first, *others = batches
    if not others:
        return first
    if isinstance(first, dict):
        return {key: _joined([batch[key] for batch in batches]) for key in first}
    return type(first)(_joined(entries) for entries in zip(*batches, strict=True))


def _joined(entries: Sequence[Any]) -> Any:
    return torch.cat(list(entries)) if isinstance(entries[0], Tensor) else entries[0]
