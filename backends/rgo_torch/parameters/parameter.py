"""The parameters that RGO projects, seen as rows, and what projecting one takes."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from array_api_compat import torch as xp
from torch import Tensor, nn

import rgo_core
from rgo_core import (
    Axes,
    DiagonalMoment,
    DiagonalProjection,
    LowRankProjection,
    SecondMoment,
    SketchedMoment,
)
from rgo_core._checks import check_integer
from rgo_torch.fast.product import projected_rows
from rgo_torch.layers.layer import Layer
from rgo_torch.modules.complex_parts import real_dtype, real_shape, real_view

Moment = SecondMoment | DiagonalMoment | SketchedMoment
Projection = Tensor | DiagonalProjection | LowRankProjection


class Bound(NamedTuple):
    """How much state a parameter may have."""

    # Of more inputs than these a sketch of the second moment is kept; None: never.
    features: int | None
    rows: int  # of a sketch


def make_bound(max_features: int | None, sketch_rows: int) -> Bound:
    """Return the bound that two options stand for.

    Raises
    ------
    ValueError
        If one is not an integer of at least 1.
    """
    if max_features is not None:
        check_integer("max_features", max_features, 1)
    check_integer("sketch_rows", sketch_rows, 1)
    return Bound(max_features, sketch_rows)


UNBOUNDED = Bound(None, 1)


@dataclass(frozen=True)
class ProjectedParameter:
    """A parameter, with the axes that its projection acts on."""

    name: str  # in the model
    tensor: nn.Parameter
    axes: Axes
    bound: Bound = UNBOUNDED
    # Several where it is tied, with its name in each.
    uses: list[tuple[Layer, str]] = field(default_factory=list)
    # What optimizers hold, where that is cut up over workers.
    sharded: nn.Parameter | None = None

    @property
    def held(self) -> nn.Parameter:
        """What optimizers hold and step: itself, or its sharded form."""
        return self.tensor if self.sharded is None else self.sharded

    @property
    def is_vector(self) -> bool:
        """Whether it has no outputs: a bias, or what acts entry by entry."""
        return not self.axes.outputs

    @property
    def is_looked_up(self) -> bool:
        """Whether it is a table whose rows are looked up, as an embedding's are."""
        return self.axes.diagonal and not self.is_vector

    @property
    def features(self) -> int:
        """n: the length of a curvature vector."""
        return rgo_core.features(real_shape(self.tensor), self.axes)

    @property
    def groups(self) -> tuple[int, ...]:
        """How many groups have a projection of their own."""
        return rgo_core.group_shape(real_shape(self.tensor), self.axes)

    @property
    def outputs(self) -> int:
        """How many outputs share a projection, over all groups."""
        return math.prod(real_shape(self.tensor)) // self.features

    @property
    def form(self) -> str:
        """What is kept of the second moment: "full", "sketch" or "diagonal"."""
        if self.axes.diagonal:
            return "diagonal"
        most, rows = self.bound.features, self.bound.rows
        # A sketch of n rows is no smaller than the matrix, and less exact.
        is_kept = most is None or self.features <= max(most, rows)
        return "full" if is_kept else "sketch"

    @property
    def moment_device(self) -> torch.device:
        """The parameter's device, or the CPU where that has no float64."""
        device = self.tensor.device
        return torch.device("cpu") if device.type == "mps" else device

    @property
    def projection_dtype(self) -> torch.dtype:
        """The parameter's dtype, yet float32 at the least."""
        return projection_dtype(self.tensor)

    @property
    def state_bytes(self) -> int:
        """What its second moment and its projection take."""
        n, both = self.features, 8 + self.projection_dtype.itemsize
        entries = {"full": n, "sketch": self.bound.rows, "diagonal": 1}
        return math.prod(self.groups) * n * entries[self.form] * both

    @cached_property
    def _shape_of_rows(self) -> tuple[int, ...] | None:
        """The shape of its rows, where a view is all that it takes to see them."""
        axes, groups = self.axes, self.groups
        order = (*axes.groups, *axes.outputs, *axes.inputs)
        if order != tuple(range(len(order))):
            return None
        if self.is_vector and not groups:
            return (self.features,)
        return (*groups, -1, self.features)  # a piece has fewer outputs

    @cached_property
    def _is_rows(self) -> bool:
        """Whether it is its rows as it stands."""
        shape = self._shape_of_rows
        rows = self.outputs // math.prod(self.groups)
        whole = shape and tuple(rows if length < 0 else length for length in shape)
        return whole == real_shape(self.tensor)

    @property
    def has_rows(self) -> bool:
        """Whether its entries lie row by row in memory, each row with n inputs."""
        return not self.is_vector and self._shape_of_rows is not None

    def rows(self, tensor: Tensor) -> Tensor:
        """View the parameter, or its gradient, as (*groups, m, n), a vector as (n,)."""
        if self._is_rows:
            return tensor
        if self._shape_of_rows is not None:
            return tensor.reshape(self._shape_of_rows)
        rows: Tensor = rgo_core.to_rows(tensor, self.axes, leading=0, xp=xp)
        return rows

    def from_rows(self, rows: Tensor, shape: torch.Size) -> Tensor:
        """View rows as the parameter, or as the piece of it that has the shape."""
        if self._is_rows:
            return rows
        if self._shape_of_rows is not None:
            return rows.reshape(shape)
        tensor: Tensor = rgo_core.from_rows(rows, self.axes, tuple(shape), xp=xp)
        return tensor

    def placed(self, projection: Projection) -> Projection:
        """Return a projection where the parameter is, in the dtype to apply it in."""
        tensor = self.tensor
        if isinstance(projection, Tensor):
            # At every step: what is in its place already is not asked for twice.
            if projection.dtype == tensor.dtype and projection.device == tensor.device:
                return projection
            return projection.to(tensor.device, self.projection_dtype)
        where = tensor.device, self.projection_dtype
        return type(projection)(*(part.to(*where) for part in projection))

    def projected(self, projection: Projection, gradient: Tensor) -> Tensor:
        """Return a gradient or an update of the parameter, projected."""
        if gradient.is_sparse:
            return self._projected_sparse(projection, gradient)
        if gradient.is_complex():
            parts = self.projected(projection, real_view(gradient))
            return torch.view_as_complex(parts.contiguous())
        rows, shape = self.rows(gradient), gradient.shape
        dtype = self.projection_dtype
        if rows.dtype == dtype:
            return self.from_rows(projected_rows(projection, rows), shape)
        projected = projected_rows(projection, rows.to(dtype))
        return self.from_rows(projected, shape).to(gradient.dtype)

    def _projected_sparse(self, projection: Projection, gradient: Tensor) -> Tensor:
        """Return a gradient with the rows that were looked up, still as such."""
        by_row = self.axes.inputs == (0,) and self.axes.outputs == (1,)
        if not (isinstance(projection, DiagonalProjection) and by_row):
            return self.projected(projection, gradient.to_dense()).to_sparse(1)
        gradient = gradient.coalesce()
        rows = gradient.indices()
        own = DiagonalProjection(projection.diagonal[rows[0]])
        values = gradient.values().to(self.projection_dtype)
        projected = rgo_core.project(own, values, axis=-2).to(gradient.dtype)
        return torch.sparse_coo_tensor(
            rows, projected, gradient.shape, is_coalesced=True, check_invariants=False
        )


def projection_dtype(tensor: Tensor) -> torch.dtype:
    """Return the dtype that a tensor's projection is applied in."""
    return torch.promote_types(real_dtype(tensor.dtype), torch.float32)
