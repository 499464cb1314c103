"""Recurrent networks: a vector for each step of a sample, or one for a sample."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from array_api_compat import torch as xp
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

import rgo_core
from rgo_core import Axes
from rgo_torch.layers.layer import Call, Channels, Use, Vectors
from rgo_torch.layers.transformed import TransformedLayer
from rgo_torch.layers.unrolling import stepped, unrolled
from rgo_torch.modules.trees import leaves_of, map_tensors

OUTPUTS, PACKED = 1, 4  # leaves of what is returned before the final states


class SteppedLayer(TransformedLayer):
    """A recurrent module: each step multiplies its weights by inputs of its own."""

    records_first = True  # no hook is called again
    # A sample's steps may cancel, and their sum says little of what came in.
    own_vectors = ("position", "rms")

    def vectors(self, uses: Sequence[Use], wanted: Vectors) -> Tensor:
        """Return the vectors of one parameter: those of steps, or of samples."""
        if wanted.per != "position":
            return super().vectors(uses, wanted)
        found = []
        for layer, own, call in uses:
            assert isinstance(layer, SteppedLayer)  # as the first is
            if call.reduced is None:
                call.reduced = layer.of_steps(call, wanted)
            found.append(call.reduced[own])
        return torch.cat(found)

    def of_steps(self, call: Call, wanted: Vectors) -> dict[str, Tensor]:
        """Return the vectors (v, n) of every parameter: of each sample at each step."""
        forward: Callable[..., Any] = self._forward
        made: list[tuple[str, Tensor, Tensor]] = []

        def multiply(
            name: str, inputs: Tensor, weight: Tensor, bias: Tensor | None
        ) -> Tensor:
            made.append((name, inputs.detach(), linear(inputs, weight, bias)))
            return made[-1][-1]

        with torch.enable_grad():
            parameters = {
                own: p.detach().to(call.dtype).requires_grad_()
                for own in self.axes
                if (p := self.parameter(own)) is not None
            }
            given = map_tensors(
                partial(_in_dtype, call.dtype), (call.args, call.kwargs)
            )
            returned = forward(self.module, parameters, *given, multiply)
            leaves = leaves_of(returned)
            arrived = [
                torch.autograd.grad(
                    sum(
                        (leaves[place] * gradient).sum()
                        for place, gradient in zip(call.places, towards, strict=True)
                        if gradient is not None
                    ),
                    [product for *_, product in made],
                    retain_graph=True,
                    allow_unused=True,
                    materialize_grads=True,
                )
                for towards in call.gradients
            ]
        return self._reduced_rows(made, arrived, wanted)

    def _reduced_rows(
        self,
        made: Sequence[tuple[str, Tensor, Tensor]],
        arrived: Sequence[Sequence[Tensor]],
        wanted: Vectors,
    ) -> dict[str, Tensor]:
        """Return the vectors of all steps that have a weight, and those of its bias."""
        found = {}
        for own in dict.fromkeys(name for name, *_ in made):
            steps = [step for step, (name, *_) in enumerate(made) if name == own]
            inputs = torch.cat([_rows(made[step][1]) for step in steps])
            towards = torch.stack(
                [torch.cat([_rows(of[step]) for step in steps]) for of in arrived]
            )
            # Each row counts by itself, whatever its sample.
            found[own] = rgo_core.curvature_vectors(
                inputs[:, None],
                towards[:, :, None],
                per="position",
                reduce=wanted.reduce or "rms",
                xp=xp,
            )
            bias = own.replace("weight", "bias")
            if bias in self.axes:
                found[bias] = rgo_core.bias_vectors(
                    towards[:, :, None], per="position", xp=xp
                )
        return found


class CellLayer(SteppedLayer):
    """`torch.nn.RNNCell`, `GRUCell` or `LSTMCell`, called step by step."""

    def __init__(self, name: str, module: nn.Module) -> None:
        super().__init__(
            name,
            module,
            recurrent_axes(module),
            channels=Channels(int(module.hidden_size)),  # type: ignore[arg-type]
            forward=stepped,
        )


class RecurrentLayer(SteppedLayer):
    """`torch.nn.RNN`, `GRU` or `LSTM`: all gates of a layer share a projection."""

    def __init__(self, name: str, module: nn.RNNBase) -> None:
        width = module.proj_size or module.hidden_size
        super().__init__(
            name,
            module,
            recurrent_axes(module),
            channels=Channels(width * (2 if module.bidirectional else 1)),
            sample_axis=0 if module.batch_first else 1,
            forward=unrolled,
        )

    def sample_axes(
        self, call: Call, given: Sequence[Any], gradients: Sequence[Tensor | None]
    ) -> tuple[list[int | None], list[int | None]]:
        """Return the axes: states (layers, b, width) have their samples second."""
        first, *states = given
        if first.ndim == 2:
            raise ValueError(f"{self.name}: a single sequence is one sample")
        axes = [None if leaf is None else leaf.ndim // 2 for leaf in states]
        towards = [
            None if gradient is None else 1 if place else self.sample_axis
            for place, gradient in zip(call.places, gradients, strict=True)
        ]
        return [self.sample_axis, *axes], towards

    def sampled_shape(
        self, call: Call, gradients: Sequence[Tensor | None]
    ) -> tuple[int, ...]:
        """Return that of the outputs: states have layers first, not time."""
        found = dict(zip(call.places, gradients, strict=True))
        return super().sampled_shape(call, [found.get(0)])

    def reduced(self, call: Call, wanted: Vectors) -> dict[str, Tensor]:
        """See a packed sequence as a padded one with lengths."""
        return super().reduced(self._padded(call), wanted)

    def of_steps(self, call: Call, wanted: Vectors) -> dict[str, Tensor]:
        """See a packed sequence as a padded one with lengths."""
        return super().of_steps(self._padded(call), wanted)

    def _padded(self, call: Call) -> Call:
        names = ("input", "hx")
        given = dict(zip(names, call.args, strict=False)) | dict(call.kwargs)
        packed, states = given["input"], given.get("hx")
        if not isinstance(packed, PackedSequence):
            return replace(call, args=(packed, states), kwargs={})
        first = self.sample_axis == 0
        inputs, lengths = pad_packed_sequence(packed, batch_first=first)
        padded = [
            [
                pad_packed_sequence(packed._replace(data=g), batch_first=first)[0]
                if place == 0 and g is not None
                else g
                for place, g in zip(call.places, gradients, strict=True)
            ]
            for gradients in call.gradients
        ]
        places = [max(0, place - PACKED + OUTPUTS) for place in call.places]
        args = (inputs, states, lengths.to(inputs.device))
        return replace(call, args=args, kwargs={}, gradients=padded, places=places)


def recurrent_axes(module: nn.Module) -> dict[str, Axes]:
    """Return the axes: (gates * width, inputs) for weights, vectors for biases."""
    return {
        own: Axes(outputs=(0,), inputs=(1,)) if p.ndim == 2 else Axes(inputs=(0,))
        for own, p in module.named_parameters(recurse=False)
    }


def _rows(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1, tensor.shape[-1])


def _in_dtype(dtype: torch.dtype, tensor: Tensor) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor
