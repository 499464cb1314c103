"""The pieces of updates that a worker holds, projected.

Where each row of a weight is whole on one worker, as after `fully_shard`, every worker
projects its own, and nothing is sent. What is cut along its inputs, as a bias is, is
gathered from all: in one call a step, for it is short.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed

import rgo_core
from rgo_core import DiagonalProjection
from rgo_torch.fast.product import projected_rows
from rgo_torch.mesh.gathered import own_piece, whole_of
from rgo_torch.parameters.parameter import ProjectedParameter, Projection


class Cut(NamedTuple):
    """How a parameter is cut up: along one axis, in pieces of one length but the last.

    So does `fully_shard` unless told otherwise.
    """

    axis: int
    length: int  # of the whole axis
    workers: int
    rank: int  # of this one among them
    group: Any

    def bounds(self, rank: int) -> tuple[int, int]:
        """Return where a worker's piece begins and ends."""
        each = -(-self.length // self.workers)
        return min(rank * each, self.length), min((rank + 1) * each, self.length)


class Update(NamedTuple):
    """A worker's piece of an update, and what to project it with."""

    parameter: ProjectedParameter
    projection: Projection
    piece: Tensor


def projected_pieces(
    updates: Iterable[tuple[str, Update]],
) -> Iterator[tuple[str, Tensor]]:
    """Yield updates projected, by names; of cut parameters this worker's pieces.

    All workers call it together, with the same names in one order.

    Notes
    -----
    ``n^2 m / w`` multiplications of a weight whose rows are whole on one of w workers,
    and nothing sent; of others ``n^2 m``, and their size once.
    """
    apart: dict[str, tuple[Update, Cut]] = {}
    for name, update in updates:
        parameter, projection, piece = update
        held: Any = parameter.sharded
        if held is None:
            yield name, parameter.projected(projection, piece)
        elif (cut := find_cut(held)) is None:
            whole = parameter.projected(projection, whole_of(piece, held))
            yield name, own_piece(whole, held)
        elif (own := _by_itself(update, cut)) is not None:
            yield name, own
        else:
            apart[name] = update, cut
    for name, whole in _gathered(apart).items():
        (parameter, projection, _), cut = apart[name]
        start, stop = cut.bounds(cut.rank)
        projected = parameter.projected(projection, whole)
        yield name, projected.narrow(cut.axis, start, stop - start)


def find_cut(held: Any) -> Cut | None:
    """Return how a sharded parameter is cut up; None where it is no such cut."""
    cuts = [(i, p) for i, p in enumerate(held.placements) if not p.is_replicate()]
    # Shards of shards lie in another order.
    if len(cuts) != 1 or type(cuts[0][1]).__name__ != "Shard":
        return None
    [(place, shard)], mesh = cuts, held.device_mesh
    return Cut(
        shard.dim,
        held.shape[shard.dim],
        mesh.size(place),
        mesh.get_local_rank(place),
        mesh.get_group(place),
    )


def _by_itself(update: Update, cut: Cut) -> Tensor | None:
    """Return a projected piece for which no other is needed; None if they are."""
    parameter, projection, piece = update
    axes = parameter.axes
    if axes.shape is None and cut.axis in axes.outputs:
        return parameter.projected(projection, piece)
    plain = not axes.groups and axes.shape is None
    if isinstance(projection, DiagonalProjection) and plain:
        return _by_entries(update, cut, projection)
    if parameter.has_rows and cut.axis == 0:
        return _by_rows(update, cut)
    return None


def _by_entries(
    update: Update, cut: Cut, projection: DiagonalProjection
) -> Tensor | None:
    """Project what is cut along inputs that never meet."""
    parameter, _, piece = update
    shape, (start, stop) = parameter.tensor.shape, cut.bounds(cut.rank)
    dtype, diagonal = parameter.projection_dtype, projection.diagonal
    if parameter.is_vector:
        entries = diagonal.reshape(shape).narrow(cut.axis, start, stop - start)
        flat, axis = piece.reshape(-1).to(dtype), -1
    elif parameter.axes.inputs == (0,) and piece.ndim == 2:
        entries, flat, axis = diagonal[start:stop], piece.to(dtype), -2
    else:
        return None
    own = DiagonalProjection(entries.reshape(-1))
    projected: Tensor = rgo_core.project(own, flat, axis=axis)
    return projected.reshape(piece.shape).to(piece.dtype)


def _by_rows(update: Update, cut: Cut) -> Tensor | None:
    """Project a run of rows, which may be of several groups."""
    parameter, projection, piece = update
    n, dtype = parameter.features, parameter.projection_dtype
    each = math.prod(parameter.tensor.shape[1:])
    if each % n:
        return None  # a piece ends within a row
    rows = piece.reshape(-1, n).to(dtype)
    first = cut.bounds(cut.rank)[0] * each // n
    of_group = parameter.outputs // math.prod(parameter.groups)
    parts = projection if isinstance(projection, tuple) else (projection,)
    leading = len(parameter.groups)
    flat = [part.reshape(-1, *part.shape[leading:]) for part in parts]
    projected = torch.empty_like(rows)
    done = 0
    while done < len(rows):
        group, inside = divmod(first + done, of_group)
        stop = min(done + of_group - inside, len(rows))
        own = [part[group] for part in flat]
        its = type(projection)(*own) if isinstance(projection, tuple) else own[0]
        projected[done:stop] = projected_rows(its, rows[done:stop])
        done = stop
    return projected.reshape(piece.shape).to(piece.dtype)


def _gathered(apart: Mapping[str, tuple[Update, Cut]]) -> dict[str, Tensor]:
    """Return the whole of several updates, by one call for those of one group."""
    buckets: dict[Any, list[str]] = {}
    for name, (update, cut) in apart.items():
        piece = update.piece
        buckets.setdefault((cut.group, piece.dtype, piece.device), []).append(name)
    found: dict[str, Tensor] = {}
    for (group, *_), names in buckets.items():
        sent = [apart[name] for name in names]
        sizes = [
            [_size(update, cut, rank) for update, cut in sent]
            for rank in range(sent[0][1].workers)
        ]
        flat = torch.cat([update.piece.reshape(-1) for update, _ in sent])
        flat = torch.nn.functional.pad(flat, (0, max(map(sum, sizes)) - len(flat)))
        everyone = [torch.empty_like(flat) for _ in sizes]
        distributed.all_gather(everyone, flat, group=group)
        pieces = [
            of_one[: sum(own)].split(own)
            for of_one, own in zip(everyone, sizes, strict=True)
        ]
        for number, name in enumerate(names):
            update, cut = sent[number]
            found[name] = _joined(update, cut, [of_one[number] for of_one in pieces])
    return found


def _size(update: Update, cut: Cut, rank: int) -> int:
    start, stop = cut.bounds(rank)
    return update.parameter.tensor.numel() // max(cut.length, 1) * (stop - start)


def _joined(update: Update, cut: Cut, pieces: Sequence[Tensor]) -> Tensor:
    """Put the pieces of an update together."""
    shape = list(update.parameter.tensor.shape)
    shaped = []
    for rank, piece in enumerate(pieces):
        start, stop = cut.bounds(rank)
        shape[cut.axis] = stop - start
        shaped.append(piece.reshape(shape))
    return torch.cat(shaped, cut.axis)
