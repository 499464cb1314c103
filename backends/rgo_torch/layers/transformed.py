"""Any module: the gradients of its samples by `torch.func`, and the axes alone."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rgo_core import Axes
from rgo_torch.layers.columns import IS_OUTER, columns_of, joined, outer_columns
from rgo_torch.layers.experts import holds_experts
from rgo_torch.layers.functional import (
    Forward,
    Gradients,
    by_autograd,
    by_transform,
    call_functionally,
)
from rgo_torch.layers.layer import Call, Channels, Layer, Use, Vectors
from rgo_torch.layers.sample_axes import (
    SECOND,
    OfAllSamplesError,
    axis_of_length,
    is_time_first,
    over_outputs,
    over_samples,
    product_along,
)
from rgo_torch.modules.complex_parts import real_view
from rgo_torch.modules.trees import flatten, leaves_of, unflatten

# Entries of per-sample gradients that are held at one time.
ENTRIES = 2**22


class TransformedLayer(Layer):
    """A module of any kind, whose forward is called again for each of its samples.

    Parameters
    ----------
    name, module, axes
        As in `Layer`.
    channels : Channels, optional
    sample_axis : int
        Which axis of the module's tensors holds the samples.
    forward : callable, optional
        What to call in place of the module where `torch.func.vmap` cannot take it.
    """

    has_any_axes = True  # the gradients of samples are whole

    def __init__(
        self,
        name: str,
        module: nn.Module,
        axes: Mapping[str, Axes],
        *,
        channels: Channels | None = None,
        sample_axis: int = 0,
        forward: Forward = call_functionally,
    ) -> None:
        super().__init__(name, module, axes)
        self.channels = channels
        self.sample_axis = sample_axis
        self._forward = forward
        self._summed = False  # where the samples cannot be told apart
        # Whether tokens that come one by one may have outer products for gradients:
        # as many whole matrices of experts would fill the memory.
        self._may_be_outer = holds_experts(module)
        # Which arguments, of so many, all samples share: once they may be as many.
        self._shared: set[tuple[int, int]] = set()

    @property
    def sums_samples(self) -> bool:
        """Whether `torch.func` could not take its batch apart, or samples share it."""
        return self._summed or super().sums_samples

    def vectors(self, uses: Sequence[Use], wanted: Vectors) -> Tensor:
        """Return the vectors of one parameter: those of several calls add up."""
        found = []
        for layer, own, call in uses:
            assert isinstance(layer, TransformedLayer)  # what the first is they all are
            if call.reduced is None:
                call.reduced = layer.reduced(call, wanted)
            found.append(call.reduced[own])
        if len({vectors.shape for vectors in found}) == 1:
            found = [torch.stack(found).sum(0)]
        return torch.cat([joined(vectors) for vectors in found], dim=-2)

    def sample_axes(
        self, call: Call, given: Sequence[Any], gradients: Sequence[Tensor | None]
    ) -> tuple[list[int | None], list[int | None]]:
        """Return which axis of each argument, and of each gradient, has the samples.

        `given` are the leaves of its arguments, `gradients` one for each output.
        """
        axis = self.sample_axis
        samples = next(g for g in gradients if g is not None).shape[axis]
        found = [axis_of_length(leaf, axis, samples) for leaf in given]
        self._shared |= {
            (len(given), place)
            for place, leaf in enumerate(given)
            if isinstance(leaf, Tensor) and found[place] is None
        }
        for number, place in self._shared:
            if number == len(given):
                found[place] = None
        return found, [None if gradient is None else axis for gradient in gradients]

    def sampled_shape(
        self, call: Call, gradients: Sequence[Tensor | None]
    ) -> tuple[int, ...]:
        """Return the shape of a gradient with samples along the axis; () of none."""
        return next((tuple(g.shape) for g in gradients if g is not None), ())

    def sample_gradients(
        self, call: Call, gradients: Sequence[Tensor | None]
    ) -> dict[str, Tensor] | None:
        """Return the gradients (b, *shape) of all parameters, where a formula has them.

        None here: `torch.func` finds them. What a layer gives in its place is equal.
        """
        return None

    def reduced(self, call: Call, wanted: Vectors) -> dict[str, Tensor]:
        """Return the vectors (k, b, *groups, c, n) of every parameter of a call."""
        parameters = {
            own: parameter.detach()
            for own in self.axes
            if (parameter := self.parameter(own)) is not None
        }
        given, spec = flatten((call.args, dict(call.kwargs)))

        def vectors(
            gradients_of: Gradients, given: list[Any], towards: list[Any]
        ) -> dict[str, Tensor]:
            def score(parameters: Mapping[str, Tensor]) -> Tensor:
                args, kwargs = unflatten(given, spec)
                with call.surroundings():
                    returned = self._forward(self.module, parameters, args, kwargs)
                leaves = leaves_of(returned)
                return torch.stack(
                    [
                        product_along(leaves[place], gradient)
                        for place, gradient in zip(call.places, towards, strict=True)
                        if gradient is not None
                    ]
                ).sum()

            return {
                own: columns_of(
                    real_view(gradient).to(call.dtype), self.axes[own], wanted.reduce
                )
                for own, gradient in gradients_of(score, parameters).items()
            }

        rows = [
            self._by_formula(call, gradients, wanted)
            or self._by_sample(call, vectors, given, gradients, wanted)
            for gradients in call.gradients
        ]
        return {own: torch.stack([row[own] for row in rows]) for own in parameters}

    def _by_formula(
        self, call: Call, gradients: Sequence[Tensor | None], wanted: Vectors
    ) -> dict[str, Tensor] | None:
        found = self.sample_gradients(call, gradients)
        if found is None:
            return None
        self.tells_samples(len(next(iter(found.values()))), wanted)
        if wanted.per == "batch":
            found = {own: each.sum(0, keepdim=True) for own, each in found.items()}
        return {
            own: columns_of(found[own], axes, wanted.reduce, leading=1)
            for own, axes in self.axes.items()
        }

    def _find_samples(
        self, call: Call, gradients: Sequence[Tensor | None], wanted: Vectors
    ) -> tuple[int, ...]:
        """Return `sampled_shape`; the samples are second where time comes first."""
        shape = self.sampled_shape(call, gradients)
        if shape and is_time_first(shape, self.sample_axis, wanted):
            self.sample_axis = SECOND
        return shape

    def _by_sample(
        self,
        call: Call,
        vectors: Callable[[Gradients, list[Any], list[Any]], dict[str, Tensor]],
        given: list[Any],
        gradients: list[Tensor | None],
        wanted: Vectors,
    ) -> dict[str, Tensor]:
        """Return vectors (b, ...), or (1, ...) where the samples cannot be told apart.

        A module whose forward looks at values, as one that routes tokens to experts,
        has no per-sample form; the sum over the batch serves it, as the paper's does.
        """
        if wanted.per != "batch" and not self._summed:
            shape = self._find_samples(call, gradients, wanted)
            if len(shape) > self.sample_axis:
                self.tells_samples(shape[self.sample_axis], wanted)
            try:
                mapped = partial(vectors, by_transform)
                is_rms = (wanted.reduce or "rms") == "rms"
                if self._may_be_outer and len(shape) == 2 and is_rms:
                    outer = partial(outer_columns, mapped)
                    found = self._mapped(call, outer, given, gradients)
                    if bool(found.pop(IS_OUTER).all()):
                        return found
                    self._may_be_outer = False
                return self._mapped(call, mapped, given, gradients)
            except (RuntimeError, ValueError, IndexError, TypeError):
                self._summed = True
        summed = vectors(by_autograd, given, gradients)
        return {own: rows[None] for own, rows in summed.items()}

    def _mapped(
        self,
        call: Call,
        vectors: Callable[[list[Any], list[Any]], dict[str, Tensor]],
        given: list[Any],
        gradients: list[Tensor | None],
    ) -> dict[str, Tensor]:
        axes = self.sample_axes(call, given, gradients)
        # Of submodules too: a whole model called again holds much of each sample.
        entries = sum(p.numel() for p in self.module.parameters())
        size = max(1, ENTRIES // max(1, entries))
        try:
            return over_samples(vectors, (given, gradients), axes, size)
        except OfAllSamplesError:
            return over_outputs(partial(vectors, given), gradients, axes[1], size)
