"""Whether what the calls of layers tell is the gradient, on the first batch.

The curvature of a parameter is made of what goes in and out of its layers: right where
the layers do what their kinds do, and use the parameter in their calls alone. A forward
or a hook of somebody's own may do something else, and a tensor that all samples share
may look like one of theirs. Vectors of samples that do not add up to the gradient of
their sum tell of all of these.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from array_api_compat import torch as xp
from torch import Tensor, nn
from torch.func import functional_call

import rgo_core
from rgo_core.vectors import Per, Reduce
from rgo_torch.complex_parts import real_dtype, real_view
from rgo_torch.layers.embedding import EMBEDDING, EmbeddingLayer
from rgo_torch.layers.layer import Use, Vectors
from rgo_torch.layers.recurrent import SteppedLayer
from rgo_torch.layers.rows import RowLayer
from rgo_torch.observation.calls import Calls
from rgo_torch.parameters import ProjectedParameter, projection_dtype
from rgo_torch.score import Score

# Of the longer of two sums: more is no rounding, in float32 and in half precision.
GAP, HALF_GAP = 0.05, 0.3
# Of the largest gradient's entries: what is smaller may be nothing but rounding, as a
# key's bias has, which a softmax does not see.
FLOOR, HALF_FLOOR = 1e-4, 1e-2


class Audited:
    """A score of parameters' stand-ins, so that no hook changes their gradients.

    Parameters
    ----------
    score : callable
    model : nn.Module
    parameters : iterable of ProjectedParameter
    """

    def __init__(
        self, score: Score, model: nn.Module, parameters: Sequence[ProjectedParameter]
    ) -> None:
        self._score = score
        paths = {id(tensor): path for path, tensor in model.named_parameters()}
        self._names = {p.name: paths[id(p.tensor)] for p in parameters}
        self.leaves = {p.name: p.tensor.detach().requires_grad_() for p in parameters}

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the scores, which depend on the stand-ins."""
        given = {f"model.{self._names[n]}": leaf for n, leaf in self.leaves.items()}
        scores: Tensor = functional_call(_Scored(model, self._score), given, (batch,))
        return scores

    def gradients(self, scores: Tensor) -> dict[str, Tensor]:
        """Return those of the first score of all samples, of what it depends on."""
        first = scores if scores.ndim == 1 else scores[0]
        found = torch.autograd.grad(
            first.sum(),
            list(self.leaves.values()),
            retain_graph=True,
            allow_unused=True,
        )
        named = zip(self.leaves, found, strict=True)
        return {name: each for name, each in named if each is not None}


class _Scored(nn.Module):
    def __init__(self, model: nn.Module, score: Score) -> None:
        super().__init__()
        self.model = model
        self._score = score

    def forward(self, batch: Any) -> Tensor:
        return self._score(self.model, batch)


@torch.no_grad()
def find_mistold(
    gradients: Mapping[str, Tensor],
    parameters: Sequence[ProjectedParameter],
    calls: Calls,
    per: Per | None,
    samples: int,
) -> list[ProjectedParameter]:
    """Return the parameters whose calls tell another gradient than they have.

    Those are left out that nothing can be said of: that layers of several kinds share,
    or whose gradient is next to nothing.
    """
    sizes = {name: _size(gradient) for name, gradient in gradients.items()}
    largest = max(sizes.values(), default=0.0)
    found = []
    for parameter in parameters:
        gradient = gradients.get(parameter.name)
        if gradient is None:
            continue
        gap, floor = (GAP, FLOOR) if _is_exact(gradient) else (HALF_GAP, HALF_FLOOR)
        if sizes[parameter.name] <= floor * largest:
            continue
        told = _told(parameter, calls, per, samples)
        if told is None:
            continue
        whole = _sum(parameter, gradient)
        # Of unrelated outputs; means that cancel to rounding tell nothing.
        least = floor * float(_plain(gradient).norm()) / parameter.outputs
        if not _is_near(told, whole, gap, least):
            found.append(parameter)
    return found


def _told(
    parameter: ProjectedParameter, calls: Calls, per: Per | None, samples: int
) -> Tensor | None:
    """Return the sum of a parameter's vectors over the samples, with signs of outputs.

    Of a table that is looked up the length of each row. None where it is not known.
    """
    kinds = {type(layer) for layer, _ in parameter.uses}
    uses = [
        Use(layer, own, replace(call, gradients=call.gradients[:1], reduced=None))
        for layer, own in parameter.uses
        for call in calls[layer]
        if not call.is_empty
    ]
    if len(kinds) > 1 or not all(u.layer.serves(u, parameter.axes) for u in uses):
        return None
    if kinds == {EmbeddingLayer} and parameter.axes != EMBEDDING:
        return None
    if not uses:
        return torch.zeros((), device=parameter.tensor.device)
    layer = uses[0].layer
    wanted = layer.resolved(Vectors(parameter.axes, per, "signs", samples))
    if isinstance(layer, RowLayer | EmbeddingLayer | SteppedLayer):
        # A sample's vector has lost its sign, or is a step's.
        wanted = wanted._replace(per="batch")
    return layer.vectors(uses, wanted).sum(-2)


def _sum(parameter: ProjectedParameter, gradient: Tensor) -> Tensor:
    """Return what that sum is of a gradient itself."""
    axes = parameter.axes
    rows = rgo_core.to_rows(_plain(gradient), axes, leading=0, xp=xp)
    reduce: Reduce = "rms" if axes.diagonal else "signs"
    columns: Tensor = rgo_core.reduce_outputs(rows.mT, reduce=reduce, xp=xp).mT
    if isinstance(parameter.uses[0][0], EmbeddingLayer):
        columns = torch.linalg.vector_norm(columns, dim=-2, keepdim=True)
    return columns.sum(-2)


def _is_near(told: Tensor, whole: Tensor, gap: float, least: float) -> bool:
    # Of one row alone the sign is lost.
    apart = min(float((told - whole).norm()), float((told + whole).norm()))
    return apart <= max(gap * max(float(told.norm()), float(whole.norm())), least)


def _size(gradient: Tensor) -> float:
    """Return the root mean square of the entries."""
    plain = _plain(gradient)
    return float(plain.norm()) / math.sqrt(max(1, plain.numel()))


def _plain(gradient: Tensor) -> Tensor:
    """Return a gradient dense, real and in float32 at the least."""
    dense = real_view(gradient.to_dense() if gradient.is_sparse else gradient)
    return dense.to(projection_dtype(dense))


def _is_exact(gradient: Tensor) -> bool:
    return real_dtype(gradient.dtype) in (torch.float32, torch.float64)
