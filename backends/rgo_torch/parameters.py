"""The parameters RGO projects, the form of their second moments, and their rows."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

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
from rgo_torch._product import projected_rows
from rgo_torch.layers.layer import Layer
from rgo_torch.wrappers import named_parameters

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

    @property
    def is_vector(self) -> bool:
        """Whether it has no outputs: a bias, or what acts entry by entry."""
        return not self.axes.outputs

    @property
    def features(self) -> int:
        """n: the length of a curvature vector."""
        return rgo_core.features(tuple(self.tensor.shape), self.axes)

    @property
    def groups(self) -> tuple[int, ...]:
        """How many groups have a projection of their own."""
        return rgo_core.group_shape(tuple(self.tensor.shape), self.axes)

    @property
    def outputs(self) -> int:
        """How many outputs share a projection, over all groups."""
        return self.tensor.numel() // self.features

    @property
    def form(self) -> str:
        """What is kept of the second moment: "full", "sketch" or "diagonal"."""
        if self.axes.diagonal:
            return "diagonal"
        most = self.bound.features
        return "full" if most is None or self.features <= most else "sketch"

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
        entries = {"full": n, "sketch": min(n, self.bound.rows), "diagonal": 1}
        return math.prod(self.groups) * n * entries[self.form] * both

    def empty_moment(self) -> Moment:
        """Return the second moment of nothing, in the parameter's form."""
        options: dict[str, Any] = {
            "groups": self.groups,
            "device": self.moment_device,
            "xp": xp,
        }
        n = self.features
        if self.form == "diagonal":
            return rgo_core.empty_diagonal(n, **options)
        if self.form == "sketch":
            return rgo_core.empty_sketch(n, min(n, self.bound.rows), **options)
        return rgo_core.empty_moment(n, **options)

    def fresh_parts(self) -> dict[str, Tensor]:
        """Return the parts of a state of which nothing was observed yet."""
        kind, shapes = self._projection_form()
        options: dict[str, Any] = {
            "dtype": self.projection_dtype,
            "device": self.tensor.device,
        }
        if kind is LowRankProjection:
            filled = [torch.zeros, torch.ones]
        else:
            filled = [torch.zeros if self.form == "full" else torch.ones]
        parts = {
            key: fill(shape, **options)
            for fill, (key, shape) in zip(filled, shapes.items(), strict=True)
        }
        if self.form == "full":
            parts["projection"].diagonal(dim1=-2, dim2=-1).fill_(1)
        return {**self.empty_moment()._asdict(), **parts}

    def empty_projection(self) -> Projection:
        """Return memory for a projection, of any content."""
        make, shapes = self._projection_form()
        where: dict[str, Any] = {
            "dtype": self.projection_dtype,
            "device": self.tensor.device,
        }
        return make(*(torch.empty(shape, **where) for shape in shapes.values()))

    def is_fresh(self, entry: Mapping[str, Tensor]) -> bool:
        """Whether nothing was observed in an entry of a state: P is the identity.

        It is looked at where it lies, before it is moved to a device that would wait.
        """
        if int(entry["count"].sum()):
            return False
        fresh = self.fresh_parts()
        return all(torch.equal(entry[key].to(p.device), p) for key, p in fresh.items())

    def is_identity(self, projection: Projection) -> bool:
        """Whether a projection leaves all as it is."""
        fresh = self.fresh_parts()
        parts = projection_parts(projection)
        return all(torch.equal(part, fresh[key]) for key, part in parts.items())

    def grown(self, entry: Any) -> Any:
        """Return an entry of a state as that of a vector with more entries.

        ``H`` of the new ones is zero and P the identity, which meet no old ones.
        """
        if not (self.is_vector and isinstance(entry, Mapping)):
            return entry
        fresh = self.fresh_parts()
        found = dict(entry)
        for key, part in entry.items():
            after = fresh.get(key)
            if not isinstance(part, Tensor) or after is None or not part.ndim:
                continue
            if part.ndim == after.ndim and part.shape[-1] < after.shape[-1]:
                old = tuple(slice(length) for length in part.shape)
                found[key] = after.to(part.device, part.dtype)
                found[key][old] = part
        return found

    @cached_property
    def _shape_of_rows(self) -> tuple[int, ...] | None:
        """The shape of its rows, where a view is all that it takes to see them."""
        axes, groups = self.axes, self.groups
        order = (*axes.groups, *axes.outputs, *axes.inputs)
        if order != tuple(range(len(order))):
            return None
        if self.is_vector and not groups:
            return (self.features,)
        return (*groups, self.outputs // math.prod(groups), self.features)

    @cached_property
    def _is_rows(self) -> bool:
        """Whether it is its rows as it stands."""
        return self._shape_of_rows == tuple(self.tensor.shape)

    def rows(self, tensor: Tensor) -> Tensor:
        """View the parameter, or its gradient, as (*groups, m, n), a vector as (n,)."""
        if self._is_rows:
            return tensor
        if self._shape_of_rows is not None:
            return tensor.reshape(self._shape_of_rows)
        rows: Tensor = rgo_core.to_rows(tensor, self.axes, leading=0, xp=xp)
        return rows

    def from_rows(self, rows: Tensor) -> Tensor:
        """View rows as the parameter."""
        if self._is_rows:
            return rows
        shape = self.tensor.shape
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

    def kept(self, projection: Projection) -> Projection:
        """Return a new projection as it is kept: placed, and by rows.

        What lies otherwise in memory is multiplied in another order, and a file need
        not tell how it lay.
        """
        placed = self.placed(projection)
        if isinstance(placed, Tensor):
            # P^T is P, and what a Cholesky inverse makes lies by columns.
            return placed if placed.is_contiguous() else placed.mT.contiguous()
        return type(placed)(*(part.contiguous() for part in placed))

    def placed_moment(self, moment: Moment) -> Moment:
        """Check a second moment, and return it where the parameter's is kept."""
        expected = self.empty_moment()
        if type(moment) is not type(expected):
            raise TypeError(
                f"{self.name}: expected a {type(expected).__name__}, "
                f"got a {type(moment).__name__}"
            )
        shapes = {key: tuple(part.shape) for key, part in expected._asdict().items()}
        parts = moment._asdict()
        for key, part in parts.items():
            if not isinstance(part, Tensor):
                raise TypeError(
                    f"{self.name}: expected a {key} that is a tensor, got a "
                    f"{type(part).__name__}"
                )
            if part.is_floating_point() and part.dtype != torch.float64:
                raise TypeError(
                    f"{self.name}: expected a {key} in float64, got {part.dtype}: what "
                    "was rounded does not come back"
                )
        self._check_parts(parts, shapes)
        placed: Any = (part.to(self.moment_device).contiguous() for part in moment)
        return type(moment)(*placed)

    def loaded(self, entry: Any) -> tuple[Moment, Projection]:
        """Return the second moment and the projection of an entry of a state.

        Raises
        ------
        ValueError
            If it has other parts than the parameter's, or other shapes.
        """
        empty = self.empty_moment()
        expected = {key: tuple(part.shape) for key, part in empty._asdict().items()}
        projection = self.loaded_projection(entry, expected)
        moment = type(empty)(*(entry[key] for key in empty._fields))
        return self.placed_moment(moment), projection

    def loaded_projection(
        self, entry: Any, others: Mapping[str, tuple[int, ...]] | None = None
    ) -> Projection:
        """Return the projection of an entry of a state that may hold no more.

        Parameters
        ----------
        entry : mapping of str to Tensor
        others : mapping of str to tuple of int, optional
            What else it must hold, by shape.

        Raises
        ------
        ValueError
            If it lacks a part, or one has another shape.
        """
        kind, shapes = self._projection_form()
        expected = {**(others or {}), **shapes}
        parts = entry if isinstance(entry, Mapping) else {}
        if not all(isinstance(parts.get(key), Tensor) for key in expected):
            raise ValueError(
                f"{self.name}: expected a state with the tensors {list(expected)}, got "
                f"{list(parts) or type(entry).__name__}"
            )
        self._check_parts({key: parts[key] for key in expected}, expected)
        return self.kept(kind(*(parts[key] for key in shapes)))

    def _projection_form(
        self,
    ) -> tuple[Callable[..., Projection], dict[str, tuple[int, ...]]]:
        """Return what makes a projection of the parameter's form, and its shapes."""
        groups, n = self.groups, self.features
        if self.form == "full":
            return (lambda matrix: matrix), {"projection": (*groups, n, n)}
        if self.form == "diagonal":
            return DiagonalProjection, {"projection.diagonal": (*groups, n)}
        factor = (*groups, min(n, self.bound.rows), n)
        shapes = {"projection.factor": factor, "projection.scale": groups}
        return LowRankProjection, shapes

    def _check_parts(
        self, parts: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]
    ) -> None:
        for key, tensor in parts.items():
            shape = expected[key]
            if tuple(tensor.shape) != shape:
                raise ValueError(
                    f"{self.name}: expected a {key} of shape {shape}, "
                    f"got {tuple(tensor.shape)}"
                )
            if not bool(torch.isfinite(tensor).all()):
                raise ValueError(
                    f"{self.name}: expected a {key} of finite numbers, got NaN or inf"
                )

    def projected(self, projection: Projection, gradient: Tensor) -> Tensor:
        """Return a gradient or an update of the parameter, projected."""
        if gradient.is_sparse:
            return self._projected_sparse(projection, gradient)
        rows = self.rows(gradient)
        dtype = self.projection_dtype
        if rows.dtype == dtype:
            return self.from_rows(projected_rows(projection, rows))
        projected = projected_rows(projection, rows.to(dtype))
        return self.from_rows(projected).to(gradient.dtype)

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


def projection_parts(projection: Projection) -> dict[str, Tensor]:
    """Return the tensors of a projection by the names that a state has for them."""
    if isinstance(projection, Tensor):
        return {"projection": projection}
    return {f"projection.{key}": part for key, part in projection._asdict().items()}


def projection_dtype(tensor: Tensor) -> torch.dtype:
    """Return the dtype that a tensor's projection is applied in."""
    return torch.promote_types(tensor.dtype, torch.float32)


def projected_parameters(
    model: nn.Module, layers: Sequence[Layer], bound: Bound = UNBOUNDED
) -> dict[str, ProjectedParameter]:
    """Return the parameters of `layers` by their names in `model`, tied ones once.

    Where layers of different kinds share one, as an embedding and a head do, the axes
    are those of a use that is not diagonal, which protects both.
    """
    names: dict[int, str] = {}
    for name, parameter in named_parameters(model):
        names.setdefault(id(parameter), name)
    found: dict[str, ProjectedParameter] = {}
    for layer in layers:
        for own, axes in layer.axes.items():
            tensor = layer.parameter(own)
            if tensor is None:
                continue
            name = names[id(tensor)]
            before = found.get(name)
            if before is None:
                found[name] = ProjectedParameter(name, tensor, axes, bound)
            elif before.axes.diagonal and not axes.diagonal:
                uses = before.uses
                found[name] = ProjectedParameter(name, tensor, axes, bound, uses)
            found[name].uses.append((layer, own))
    return found
