"""Second moments of several workers, added up over their process group."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, distributed

import rgo_core
from rgo_core import DiagonalMoment, SecondMoment, SketchedMoment
from rgo_torch.parameters.parameter import Moment

# Numbers of float64 that travel at once, 32 MiB: more hide no more of the latency.
BUCKET = 2**22
# Rows of a matrix that are cut at its diagonal together: H is symmetric, and what is
# below its diagonal blocks stays at home.
BLOCK = 256


def meeting_device(group: Any) -> torch.device:
    """Return the device on which a process group's tensors meet."""
    backend = distributed.get_backend(group)
    if "nccl" in backend:
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def sum_moments(
    moments: Mapping[str, Moment], group: Any, owners: Mapping[str, int] | None = None
) -> dict[str, Moment]:
    """Return what all workers observed, added up.

    Parameters
    ----------
    moments : mapping of str to SecondMoment, DiagonalMoment or SketchedMoment
        With the same names, forms and shapes on every worker. Their memory is used up.
    group : ProcessGroup or None
        The default group where None.
    owners : mapping of str to int, optional
        Who gets the sum of which parameter, by ranks in the group; all get all where
        None.

    Returns
    -------
    dict of str to SecondMoment, DiagonalMoment or SketchedMoment
        Those that this worker owns; all where nobody owns any.

    Notes
    -----
    ``n (n + 256) / 2`` float64 numbers of a matrix, n of a diagonal, in buckets of 32
    MiB, to which the counts belong. Sketches have no sum, and are merged two by two:
    ``l n`` that each worker but one sends, ``l n log2 w`` at most that one receives,
    and once more to all where nobody owns them.
    """
    rank = distributed.get_rank(group)
    names = sorted(moments)
    counts = [moments[name].count.to("cpu", torch.float64) for name in names]
    count = torch.stack(counts) if counts else torch.zeros(0, dtype=torch.float64)
    _sum([count], group, None)
    summed: dict[str, Moment] = {}
    for owner in (
        (None,) if owners is None else range(distributed.get_world_size(group))
    ):
        own = [n for n in names if owners is None or owners[n] == owner]
        for bucket in _buckets(part for n in own for part in _parts(moments[n])):
            _sum(bucket, group, owner)
        for name in own:
            moment = moments[name]
            if isinstance(moment, SketchedMoment):
                moment = _merged_sketches(moment, group, owner)
            if owner in (None, rank):
                whole = count[names.index(name)].to(torch.int64)
                whole = whole.to(moment.count.device)
                summed[name] = _mirrored(moment)._replace(count=whole)
    return {name: summed[name] for name in moments if name in summed}


def _parts(moment: Moment) -> Iterator[Tensor]:
    """View every number that has a sum, once."""
    if isinstance(moment, DiagonalMoment):
        yield moment.diagonal
    elif isinstance(moment, SecondMoment):
        matrix = moment.matrix
        for start in range(0, matrix.shape[-1], BLOCK):
            yield matrix[..., start : start + BLOCK, start:]


def _mirrored(moment: Moment) -> Moment:
    """Write what is right of the diagonal blocks below them, in place."""
    if isinstance(moment, SecondMoment):
        matrix = moment.matrix
        for start in range(0, matrix.shape[-1], BLOCK):
            stop = start + BLOCK
            right = matrix[..., start:stop, stop:]
            matrix[..., stop:, start:stop] = right.mT
    return moment


def _buckets(parts: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    waiting: list[Tensor] = []
    for part in parts:
        if waiting and sum(p.numel() for p in waiting) + part.numel() > BUCKET:
            yield waiting
            waiting = []
        waiting.append(part)
    if waiting:
        yield waiting


def _sum(parts: list[Tensor], group: Any, owner: int | None) -> None:
    """Add up tensors of all workers, in place, for all or for one of them."""
    flat = torch.cat([part.reshape(-1) for part in parts]).to(meeting_device(group))
    if owner is None:
        distributed.all_reduce(flat, group=group)
    else:
        distributed.reduce(flat, global_rank(group, owner), group=group)
    if owner in (None, distributed.get_rank(group)):
        for part, total in zip(
            parts, flat.split([p.numel() for p in parts]), strict=True
        ):
            part.copy_(total.reshape(part.shape))


def global_rank(group: Any, rank: int) -> int:
    """Return the rank in the world of a rank in a group."""
    return rank if group is None else distributed.get_global_rank(group, rank)


def _merged_sketches(
    mine: SketchedMoment, group: Any, owner: int | None
) -> SketchedMoment:
    """Merge the sketches of all two by two, for their owner, or for all where None.

    What others than the owner get is of no use.
    """
    count, root = distributed.get_world_size(group), owner or 0
    place = (distributed.get_rank(group) - root) % count

    def peer(place: int) -> int:
        return global_rank(group, (place + root) % count)

    merged, step = mine, 1
    while step < count:
        if place % (2 * step):
            distributed.send(_flat(merged, group), peer(place - step), group=group)
            break
        if place + step < count:
            flat = torch.empty_like(_flat(mine, group))
            distributed.recv(flat, peer(place + step), group=group)
            merged = rgo_core.merge_moments(merged, _sketch(flat, mine))
        step *= 2
    if owner is None:
        flat = _flat(merged, group)
        distributed.broadcast(flat, peer(0), group=group)
        merged = _sketch(flat, mine)
    return merged


def _flat(sketch: SketchedMoment, group: Any) -> Tensor:
    """Return the numbers of a sketch in a row, where the group's tensors meet."""
    kept = (sketch.rows, sketch.shrunk, sketch.trace)
    return torch.cat([part.reshape(-1) for part in kept]).to(meeting_device(group))


def _sketch(flat: Tensor, like: SketchedMoment) -> SketchedMoment:
    """Return the sketch whose numbers these are."""
    kept = (like.rows, like.shrunk, like.trace)
    parts = flat.to(like.rows.device).split([part.numel() for part in kept])
    rows, shrunk, trace = (
        part.reshape(own.shape) for part, own in zip(parts, kept, strict=True)
    )
    return SketchedMoment(rows, shrunk, trace, like.count)
