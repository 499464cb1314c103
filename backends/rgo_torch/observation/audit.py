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
from rgo_core import output_signs
from rgo_core.vectors import Per
from rgo_torch.layers.embedding import EMBEDDING, EmbeddingLayer
from rgo_torch.layers.layer import Use, Vectors
from rgo_torch.layers.recurrent import SteppedLayer
from rgo_torch.layers.rows import RowLayer
from rgo_torch.modules.complex_parts import real_dtype, real_view
from rgo_torch.observation.calls import Calls
from rgo_torch.observation.score import Score
from rgo_torch.parameters.parameter import ProjectedParameter, projection_dtype

# Of the longer of two sums: more is no rounding, in float32 and in half precision.
GAP, HALF_GAP = 0.05, 0.3
# Of what is summed: less may be its rounding, where a module is called again, as the
# bias of a key has, which a softmax does not see.
NOISE, HALF_NOISE = 1e-5, 2e-2
# Of the largest gradient's entries: less is nothing, where the same numbers are summed.
FLOOR = 1e-6


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
        self._own = [p.tensor for p in parameters]

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the scores, which depend on the stand-ins."""
        given = {f"model.{self._names[n]}": leaf for n, leaf in self.leaves.items()}
        scores: Tensor = functional_call(_Scored(model, self._score), given, (batch,))
        return scores

    def gradients(self, scores: Tensor) -> dict[str, Tensor]:
        """Return those of the first score of all samples, of what it depends on.

        With what reaches the parameter itself, past the stand-in: of one that is in a
        list, say, which no module's attributes lead to.
        """
        first = scores if scores.ndim == 1 else scores[0]
        both = [*self.leaves.values(), *self._own]
        found = torch.autograd.grad(
            first.sum(), both, retain_graph=True, allow_unused=True
        )
        pairs = zip(found[: len(self._own)], found[len(self._own) :], strict=True)
        given = ([each for each in pair if each is not None] for pair in pairs)
        named = zip(self.leaves, given, strict=True)
        return {name: sum(each[1:], each[0]) for name, each in named if each}


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
    found = []
    for parameter in parameters:
        gradient = gradients.get(parameter.name)
        if gradient is None or not parameter.uses:
            continue
        gap, noise = (
            (GAP, NOISE)
            if _is_exact(parameter, gradient, calls)
            else (HALF_GAP, HALF_NOISE)
        )
        if sizes[parameter.name] <= _least(parameter, parameters, sizes, noise):
            continue
        told = _told(parameter, calls, per, samples)
        if told is None:
            continue
        whole = _sum(parameter, gradient)
        # Of unrelated outputs; sums that cancel to rounding tell nothing.
        least = noise * float(_plain(gradient).norm()) / math.sqrt(parameter.outputs)
        if not _is_near(told, whole, gap, least):
            found.append(parameter)
    return found


def _least(
    parameter: ProjectedParameter,
    parameters: Sequence[ProjectedParameter],
    sizes: Mapping[str, float],
    noise: float,
) -> float:
    """Return what a gradient's entries have to exceed to be more than rounding."""
    layer, _ = parameter.uses[0]
    least = FLOOR * max(sizes.values())
    if isinstance(layer, RowLayer | EmbeddingLayer):
        return least
    beside = (p.name for p in parameters if p.uses and p.uses[0][0] is layer)
    return max(least, noise * max(sizes.get(name, 0.0) for name in beside))


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
    vectors = layer.vectors(uses, wanted)
    if isinstance(layer, EmbeddingLayer):
        return vectors.sum(-2)
    columns = _columns(parameter)
    signs = output_signs(columns) if columns > 1 else [1]
    parts = vectors.unflatten(-2, (-1, columns)).sum(-3)
    total: Tensor = (parts * parts.new_tensor(signs)[:, None]).sum(-2)
    return total


def _columns(parameter: ProjectedParameter) -> int:
    """Return how many vectors a sample has: as many as outputs that never meet."""
    axes = parameter.axes
    return parameter.outputs // math.prod(parameter.groups) if axes.diagonal else 1


def _sum(parameter: ProjectedParameter, gradient: Tensor) -> Tensor:
    """Return what that sum is of a gradient itself."""
    rows = rgo_core.to_rows(_plain(gradient), parameter.axes, leading=0, xp=xp)
    if isinstance(parameter.uses[0][0], EmbeddingLayer):
        lengths: Tensor = torch.linalg.vector_norm(rows, dim=-2)
        return lengths / math.sqrt(rows.shape[-2])
    signs: Tensor = rgo_core.reduce_outputs(rows.mT, reduce="signs", xp=xp).mT
    # The columns that are left apart are over the root of their number.
    total: Tensor = signs.sum(-2) * math.sqrt(_columns(parameter))
    return total


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


def _is_exact(parameter: ProjectedParameter, gradient: Tensor, calls: Calls) -> bool:
    """Whether neither a parameter nor what came back to its calls is in half."""
    given = [
        each.dtype
        for layer, _ in parameter.uses
        for call in calls[layer]
        for each in call.gradients[0]
        if each is not None
    ]
    exact = (torch.float32, torch.float64)
    return all(real_dtype(dtype) in exact for dtype in (gradient.dtype, *given))
