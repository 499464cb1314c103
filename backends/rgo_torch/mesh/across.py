"""Channels in another order, where each worker has a part of them."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed

from rgo_torch.mesh.tensor_parallel import cut_like, is_cut


class Route(NamedTuple):
    """Which of its channels a worker sends to each other, and what it makes of theirs.

    Each channel goes to the one worker that has it after the permutation.
    """

    sent: Tensor  # of this worker's channels, by the worker that they go to
    sizes_sent: list[int]
    sizes_received: list[int]
    order: Tensor  # of what is received


class _Exchange(torch.autograd.Function):
    """Send rows to other workers, and their gradients back."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, sent: list[int], received: list[int], group: Any
    ) -> Tensor:
        ctx.back = received, sent, group
        found = rows.new_empty(sum(received), *rows.shape[1:])
        distributed.all_to_all_single(found, rows.contiguous(), received, sent, group)
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        # Through itself, so that it can be differentiated again.
        return _Exchange.apply(gradient, *ctx.back), None, None, None  # type: ignore[no-untyped-call]


class Across:
    """Permutes features of which each worker has a part of the channels.

    Parameters
    ----------
    mesh : DeviceMesh
        Of one axis.
    width : int
        The channels of all workers together.

    Notes
    -----
    A worker of w sends ``(w - 1) / w`` of its part of the features on average, and of
    their gradient.
    """

    def __init__(self, mesh: Any, width: int) -> None:
        self.mesh, self.width = mesh, width
        self._known: tuple[Tensor, Route] | None = None

    def is_part(self, features: Tensor, axis: int) -> bool:
        """Tell whether these are a worker's part of the channels along an axis."""
        # PyTorch itself takes local parts for even ones.
        own, rest = divmod(self.width, self.mesh.size())
        is_part = not rest and features.shape[axis] == own != self.width
        return is_cut(features) or is_part

    def permuted(self, features: Any, permutation: Tensor, axis: int) -> Any:
        """Return this worker's part of ``features[..., permutation, ...]``."""
        if not is_cut(features):
            return self._exchanged(features, permutation, axis)
        from torch.distributed.tensor import Replicate

        if any(placement.is_partial() for placement in features.placements):
            features = features.redistribute(placements=[Replicate()])
        part = features.to_local()
        if any(
            placement.is_shard(axis % part.ndim) for placement in features.placements
        ):
            part = self._exchanged(part, permutation, axis)
        else:
            part = part.index_select(axis, permutation)
        return cut_like(part, features)

    def _exchanged(self, part: Tensor, permutation: Tensor, axis: int) -> Tensor:
        sent, sizes_sent, sizes_received, order = self._route(permutation)
        rows = part.movedim(axis, 0)
        received: Tensor = _Exchange.apply(  # type: ignore[no-untyped-call]
            rows.index_select(0, sent),
            sizes_sent,
            sizes_received,
            self.mesh.get_group(),
        )
        return received.index_select(0, order).movedim(0, axis).contiguous()

    def _route(self, permutation: Tensor) -> Route:
        if self._known is None or self._known[0] is not permutation:
            self._known = permutation, self._new_route(permutation)
        return self._known[1]

    def _new_route(self, permutation: Tensor) -> Route:
        workers, rank = self.mesh.size(), self.mesh.get_local_rank()
        each = -(-self.width // workers)
        places = torch.arange(self.width, device=permutation.device)
        here, goes = permutation // each == rank, places // each
        comes = permutation[goes == rank] // each
        return Route(
            permutation[here] - rank * each,
            torch.bincount(goes[here], minlength=workers).tolist(),
            torch.bincount(comes, minlength=workers).tolist(),
            comes.argsort(stable=True).argsort(),
        )

    def __deepcopy__(self, memo: Any) -> "Across":
        """Return itself: the workers are the same."""
        return self
