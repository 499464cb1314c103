"""Gradients reduced over the outputs: what `torch.func` finds, as curvature vectors."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from array_api_compat import torch as xp
from torch import Tensor

import rgo_core
from rgo_core import Axes
from rgo_core.vectors import Reduce

IS_OUTER = ""  # beside the names of parameters
# What is left of an outer product's rows beside the longest, in squares, by rounding.
ROUNDING = 1e-5


def columns_of(
    gradient: Tensor, axes: Axes, reduce: Reduce | None, *, leading: int = 0
) -> Tensor:
    """Return a gradient reduced over the outputs: (..., *groups, c, n).

    Parameters
    ----------
    gradient : Tensor
    axes : Axes
    reduce : {"mean", "rms", "signs", "uncancelled"}, optional
    leading : int
        How many axes come before those of the parameter.
    """
    # Entries that never meet cannot be told from their squares' sum.
    reduce = "rms" if axes.diagonal else reduce or "rms"
    rows = rgo_core.to_rows(gradient, axes, leading=leading, xp=xp)
    columns: Tensor = rgo_core.reduce_outputs(rows.mT, reduce=reduce, xp=xp)
    return columns.mT


def outer_columns(
    vectors: Callable[..., dict[str, Tensor]], *batches: Sequence[Any]
) -> dict[str, Tensor]:
    """Return one vector a group in place of several, and whether it stands for them.

    Parameters
    ----------
    vectors : callable
        Returns, for the batches, columns (*groups, c, n) by name.
    """
    pairs = {own: _outer(each) for own, each in vectors(*batches).items()}
    found = {own: column for own, (column, _) in pairs.items()}
    return {**found, IS_OUTER: torch.stack([is_so for _, is_so in pairs.values()])}


def _outer(columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return one along the longest of (*groups, c, n), and whether all lie along it.

    It has the sum of their squares.
    """
    lengths = torch.linalg.vector_norm(columns, dim=-1)
    place = lengths.argmax(-1)[..., None, None]
    longest = columns.gather(-2, place.expand(*place.shape[:-1], columns.shape[-1]))
    own = torch.linalg.vector_norm(longest, dim=-1, keepdim=True)
    unit = longest / torch.where(own > 0, own, 1)
    whole = lengths.square().sum(-1)
    along = (columns @ unit.mT).square().sum((-2, -1))
    found: Tensor = unit * whole.sqrt()[..., None, None]
    return found, (whole - along <= ROUNDING * whole).all()


def joined(vectors: Tensor) -> Tensor:
    """See vectors (k, b, *groups, c, n) as (*groups, k b c, n)."""
    last = vectors.ndim - 2
    order = (*range(2, last), 0, 1, last, last + 1)
    return vectors.permute(order).flatten(last - 2, last)
