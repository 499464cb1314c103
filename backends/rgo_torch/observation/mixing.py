"""Whether what layers take for a sample's is of that sample alone, on the first batch.

A layer with rows takes the first axis of its outputs for the samples, or each row for
a position of one. Nothing in a batch's gradient tells where several samples share a
row, as of relative positions, or of prototypes that happen to be as many: their vectors
add up to it all the same. The gradient of half of the scores tells.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from rgo_core._checks import few_names
from rgo_core.vectors import Per
from rgo_torch.layers.layer import Call, Layer, Vectors
from rgo_torch.layers.rows import RowLayer
from rgo_torch.layers.sample_axes import padded
from rgo_torch.modules.warning import warn_caller
from rgo_torch.observation.calls import Calls

# Of the longest row: less may be rounding, in float32 and in half precision.
ROUNDING, HALF_ROUNDING = 1e-3, 5e-2

# What reaches the outputs of calls from the first half of the samples.
Halves = Mapping[int, Sequence[Tensor | None]]


def gradients_of_half(scores: Tensor, calls: Calls, per: Per | None) -> Halves:
    """Return what half of the scores send to the outputs of layers with rows.

    Nothing where one is all there are, or where several are meant to have one vector.
    """
    first = scores if scores.ndim == 1 else scores[0]
    met = [
        call
        for layer, of_layer in calls.items()
        if isinstance(layer, RowLayer)
        for call in of_layer
    ]
    edges = [edge for call in met for edge in call.outputs]
    if per not in (None, "sample") or len(first) < 2 or not edges:
        return {}
    half = first[: len(first) // 2].sum()
    found = iter(torch.autograd.grad(half, edges, retain_graph=True, allow_unused=True))
    return {id(call): [next(found) for _ in call.outputs] for call in met}


@torch.no_grad()
def find_mixed(
    halves: Halves, calls: Calls, per: Per | None, samples: int
) -> list[Layer]:
    """Return the layers of which a sample's vectors are not its own.

    Parameters
    ----------
    halves : mapping
        From `gradients_of_half`.
    calls : Calls
        With what all scores together send.
    per : {"sample"} or None
    samples : int
        How many scores the batch has.
    """
    return [
        layer
        for layer, of_layer in calls.items()
        if isinstance(layer, RowLayer)
        and any(
            _is_mixed(layer, call, halves[id(call)], per, samples)
            for call in of_layer
            if id(call) in halves and not call.is_empty
        )
    ]


def _is_mixed(
    layer: RowLayer,
    call: Call,
    half: Sequence[Tensor | None],
    per: Per | None,
    samples: int,
) -> bool:
    (first,), (whole,) = half, call.gradients[0]
    if first is None or whole is None:
        return False
    rows = _rows(layer, first)
    lengths = torch.linalg.vector_norm(rows, dim=-1)
    others = torch.linalg.vector_norm(_rows(layer, whole) - rows, dim=-1)
    wanted = layer.resolved(Vectors(layer.axes["weight"], per, None, samples))
    if len(rows) != samples and wanted.per == "sample":
        return False  # warned of as miscounted, or one for all
    exact = first.dtype in (torch.float32, torch.float64)
    least = (ROUNDING if exact else HALF_ROUNDING) * max(lengths.max(), others.max())
    if bool((torch.minimum(lengths, others) > least).any()):
        return True
    middle = samples // 2
    strays = torch.cat([others[:middle].flatten(), lengths[middle:].flatten()])
    return wanted.per == "sample" and bool((strays > least).any())


def _rows(layer: RowLayer, gradient: Tensor) -> Tensor:
    """See an output gradient as (b, p, m), all groups together."""
    rows = layer.output_rows(padded(gradient))
    return rows if rows.ndim == 3 else rows.movedim(0, -2).flatten(-2)


def warn_of_mixed(layers: Iterable[Layer]) -> None:
    """Warn once of all layers of which a sample's vectors are not its own."""
    names = [layer.name or "the model" for layer in layers]
    if names:
        warn_caller(
            f"{few_names(names)}: a sample's score reaches what other samples reach "
            "too, as where one tensor serves all (relative positions, prototypes), or "
            "what is not along its own entry of the first axis: vectors are of several "
            "samples together, and depend on the batches. Give end_task small ones, "
            "or pass per='position', which says that it is meant; where samples are "
            "compared with each other, it is as it must be"
        )
