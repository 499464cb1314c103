"""Whether a parameter has changed, told by sums of its values: no copy is kept."""

from typing import NamedTuple

import torch
from torch import Tensor

from rgo_torch.modules.complex_parts import real_view

PIECE = 2**20  # entries


class Values(NamedTuple):
    """What the values of a parameter were like."""

    device: torch.device
    dtype: torch.dtype
    sums: Tensor  # (2,)


def values_of(parameter: Tensor) -> Values:
    """Return what tells of a parameter's values; it is read once."""
    return Values(parameter.device, parameter.dtype, _sums(parameter))


def changed_since(before: Values, parameter: Tensor, rounding: int = 0) -> bool | None:
    """Whether the values changed; None where it was moved or cast, which rounds.

    Parameters
    ----------
    before : Values
    parameter : Tensor
    rounding : int
        How many units of rounding count as no change: what was added and taken away
        again is not what it was, bit for bit.
    """
    if before[:2] != (parameter.device, parameter.dtype):
        return None
    sums = _sums(parameter)
    if not rounding:
        return not torch.equal(sums, before.sums)
    within = rounding * torch.finfo(parameter.dtype).eps * before.sums[1]
    return not bool(((sums - before.sums).abs() <= within).all())


@torch.no_grad()
def _sums(parameter: Tensor) -> Tensor:
    """Return two sums, of which training changes one at the least."""
    piece = parameter.to_local() if hasattr(parameter, "to_local") else parameter
    values = real_view(piece.detach())
    values = values.float() if values.element_size() == 1 else values  # sums not fp8
    # MPS has no float64.
    exact = torch.float32 if piece.device.type == "mps" else torch.float64
    # In pieces: reductions to another dtype copy what they read.
    pieces = values.flatten().split(PIECE)
    sums = [piece.sum(dtype=exact) for piece in pieces]
    norms = [torch.linalg.vector_norm(piece, dtype=exact) for piece in pieces]
    return torch.stack(
        [torch.stack(sums).sum(), torch.linalg.vector_norm(torch.stack(norms))]
    )
