"""A module with protected parameters, and their curvature vectors from its calls."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from rgo_core import Axes
from rgo_core.vectors import Per, Reduce
from rgo_torch.modules.complex_parts import real_dtype
from rgo_torch.modules.torch_private import own_parameters
from rgo_torch.modules.wrappers import full_name


class Channels(NamedTuple):
    """The channels of what a module returns: how many, and along which axis."""

    width: int
    axis: int = -1


class Vectors(NamedTuple):
    """Which curvature vectors of a parameter are asked for."""

    axes: Axes
    per: Per | None  # None: what the layer can give without cancelling, at its cost
    reduce: Reduce | None
    samples: int  # b: how many scores the batch has


@dataclass
class Call:
    """One call of a layer."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    # What it returned that can be differentiated: whatever follows may overwrite it.
    outputs: list[GradientEdge]
    places: list[int]  # of these among all leaves of what it returned
    # One list a cotangent, with the gradient of every output, or None.
    gradients: list[list[Tensor | None]] = field(default_factory=list)
    # The vectors of every parameter, where they come all at once.
    reduced: dict[str, Tensor] | None = None
    # The device and dtype of autocast around it, if there was.
    autocast: tuple[str, torch.dtype] | None = None

    def surroundings(self) -> AbstractContextManager[Any]:
        """Return the context to call the layer again in."""
        if self.autocast is None:
            return nullcontext()
        device, dtype = self.autocast
        return torch.autocast(device, dtype, cache_enabled=False)

    @property
    def inputs(self) -> Tensor:
        """The first argument, dense: all that a layer with rows takes."""
        first: Tensor = self.args[0] if self.args else next(iter(self.kwargs.values()))
        return first if first.layout is torch.strided else first.to_dense()

    @property
    def is_empty(self) -> bool:
        """Whether it was called with a batch of none."""
        given = [g for row in self.gradients for g in row if g is not None]
        return not any(gradient.numel() for gradient in given)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype to compute vectors in: float32 at the least."""
        given = [g.dtype for row in self.gradients for g in row if g is not None]
        return torch.promote_types(real_dtype(given[0]), torch.float32)


class Layer(ABC):
    """A module with parameters that RGO protects.

    Attributes
    ----------
    name : str
        The module's name in its model.
    module : nn.Module
    axes : mapping of str to Axes
        Of each protected parameter, by its name in the module.
    channels : Channels or None
        What the feature encoding may permute of the module's output.
    takes : Channels or None
        What it may permute of the module's input.
    untold : frozenset of str
        The parameters that are kept entry by entry because nothing tells their axes.
    """

    channels: Channels | None = None
    reads_channels = False  # whether they are what its source says, and may differ
    takes: Channels | None = None
    untold: frozenset[str] = frozenset()
    records_first = False
    # Whether it has vectors for any axes, as of a layer of another kind that is tied.
    has_any_axes = False
    # Entries where samples were expected, and how many samples; None where they agree.
    miscounted: tuple[int, int] | None = None
    is_shared = False  # whether one entry served all samples of a batch
    # Of vectors that are left to the layer. What has no rows has whole gradients.
    own_vectors: tuple[Per, Reduce] = ("sample", "rms")

    def __init__(self, name: str, module: nn.Module, axes: Mapping[str, Axes]) -> None:
        self.name = name
        self.module = module
        self.axes = dict(axes)

    @property
    def sums_samples(self) -> bool:
        """Whether it has one vector for a batch, for its samples cannot be told apart.

        Known after its first batch.
        """
        return self.is_shared

    def parameter(self, own: str) -> nn.Parameter | None:
        """Return the parameter of that name in the module, where it is one now."""
        path, _, last = own.rpartition(".")
        try:
            module = self.module.get_submodule(path) if path else self.module
        except AttributeError:  # gone, with the module that had it
            return None
        return own_parameters(module).get(last)

    def full_name(self, own: str) -> str:
        """Return the name of a parameter in the model."""
        return full_name(self.name, own)

    def resolved(self, wanted: Vectors) -> Vectors:
        """Return what is asked for, with the layer's own choice where it is left."""
        per, reduce = self.own_vectors
        return wanted._replace(per=wanted.per or per, reduce=wanted.reduce or reduce)

    def seen(self, call: "Call") -> "Call":
        """Return what is kept of a call, before anything came back to its outputs."""
        return call

    def tells_samples(self, count: int, wanted: Vectors) -> bool:
        """Tell whether the axis where samples are expected has as many as the batch.

        Notes where it has not, though one vector a sample is asked for: `miscounted`,
        or `is_shared` where one entry serves all samples.
        """
        if count == wanted.samples or wanted.per != "sample":
            return True
        if count > 1:
            self.miscounted = self.miscounted or (count, wanted.samples)
        else:
            self.is_shared = True
        return False

    @classmethod
    def serves(cls, use: "Use", axes: Axes) -> bool:
        """Tell whether `vectors` has those of a parameter's axes from this use of it.

        The axes differ where a parameter is tied to one of another kind of layer.
        """
        return use.layer.axes[use.own] == axes

    @abstractmethod
    def vectors(self, uses: Sequence["Use"], wanted: Vectors) -> Tensor:
        """Return the curvature vectors (*groups, v, n) of one parameter.

        Parameters
        ----------
        uses : sequence of Use
            All calls of one batch that use the parameter, by layers of this class.
        wanted : Vectors
        """


class Use(NamedTuple):
    """A call of a layer, seen from one of its parameters."""

    layer: Layer
    own: str  # the parameter's name in the layer's module
    call: Call
