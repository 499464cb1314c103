"""Recurrent networks, step by step: the fused ones have no gradients by sample."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from rgo_core import Axes
from rgo_torch.encoding_hooks import CELLS
from rgo_torch.layers.layer import Call, Channels, Vectors
from rgo_torch.layers.transformed import TransformedLayer

States = tuple[Tensor, ...]  # h, and c of an LSTM, each (b, width)
Step = Callable[[nn.RNNBase, Tensor, Tensor, States], States]

OUTPUTS, PACKED = 1, 4  # leaves of what is returned before the final states


class CellLayer(TransformedLayer):
    """`torch.nn.RNNCell`, `GRUCell` or `LSTMCell`, called step by step."""

    def __init__(self, name: str, module: nn.Module) -> None:
        super().__init__(
            name,
            module,
            recurrent_axes(module),
            channels=Channels(int(module.hidden_size)),  # type: ignore[arg-type]
            forward=stepped,
        )


class RecurrentLayer(TransformedLayer):
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
        names = ("input", "hx")
        given = dict(zip(names, call.args, strict=False)) | dict(call.kwargs)
        packed, states = given["input"], given.get("hx")
        if not isinstance(packed, PackedSequence):
            return super().reduced(
                replace(call, args=(packed, states), kwargs={}), wanted
            )
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
        seen = replace(call, args=args, kwargs={}, gradients=padded, places=places)
        return super().reduced(seen, wanted)


def recurrent_axes(module: nn.Module) -> dict[str, Axes]:
    """Return the axes: (gates * width, inputs) for weights, vectors for biases."""
    return {
        own: Axes(outputs=(0,), inputs=(1,)) if p.ndim == 2 else Axes(inputs=(0,))
        for own, p in module.named_parameters(recurse=False)
    }


def unrolled(
    module: nn.Module,
    parameters: Mapping[str, Tensor],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> tuple[Tensor, ...]:
    """Return (output, h) or (output, h, c) of a recurrent module, by a loop.

    Parameters
    ----------
    module : nn.RNN, nn.GRU or nn.LSTM
        In eval mode: nothing is dropped between its layers.
    parameters : mapping of str to Tensor
    args : tuple
        (inputs, states or None), and the lengths (b,) of padded sequences.
    kwargs : mapping
        Empty.
    """
    assert isinstance(module, nn.RNNBase)
    inputs, states, *rest = args
    lengths = rest[0] if rest else None
    single = inputs.ndim == 2
    if single:
        inputs = inputs[:, None]
        states = _each(lambda state: state[:, None], states)
    elif module.batch_first:
        inputs = inputs.transpose(0, 1)
    initial = _initial(module, inputs, states)
    directions = 2 if module.bidirectional else 1
    finals: list[States] = []
    for layer in range(module.num_layers):
        outputs = []
        for direction in range(directions):
            place = layer * directions + direction
            suffix = f"_l{layer}" + ("_reverse" if direction else "")
            output, final = _direction(
                module,
                {own: parameters.get(own + suffix) for own in OWN},
                inputs,
                tuple(state[place] for state in initial),
                lengths,
                backwards=direction == 1,
            )
            outputs.append(output)
            finals.append(final)
        inputs = torch.cat(outputs, dim=-1)
    last = tuple(torch.stack(each) for each in zip(*finals, strict=True))
    if single:
        return inputs[:, 0], *(state[:, 0] for state in last)
    return inputs.transpose(0, 1) if module.batch_first else inputs, *last


OWN = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
Own = Mapping[str, Tensor | None]


def _direction(
    module: nn.RNNBase,
    own: Own,
    inputs: Tensor,
    states: States,
    lengths: Tensor | None,
    *,
    backwards: bool,
) -> tuple[Tensor, States]:
    """Return the outputs (t, b, width) of a layer in one direction, and its states."""
    weight = own["weight_ih"]
    assert weight is not None  # every recurrent layer has one
    gates = linear(inputs, weight, own["bias_ih"])
    steps = range(len(inputs))
    outputs: list[Tensor] = []
    for time in reversed(steps) if backwards else steps:
        new = _step(module, own, gates[time], states)
        if lengths is not None:
            inside = (time < lengths)[:, None]
            new = tuple(
                torch.where(inside, after, before)
                for after, before in zip(new, states, strict=True)
            )
            outputs.append(torch.where(inside, new[0], 0.0))
        else:
            outputs.append(new[0])
        states = new
    return torch.stack(outputs[::-1] if backwards else outputs), states


def stepped(
    module: nn.Module,
    parameters: Mapping[str, Tensor],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:
    """Return what a cell returns; its own operation works in place."""
    given = dict(zip(("input", "hx"), args, strict=False)) | dict(kwargs)
    inputs, states = given["input"], given.get("hx")
    assert isinstance(module, CELLS)
    if states is None:
        zeros = inputs.new_zeros(*inputs.shape[:-1], module.hidden_size)
        states = (zeros, zeros) if isinstance(module, nn.LSTMCell) else (zeros,)
    elif isinstance(states, Tensor):
        states = (states,)
    own = {name: parameters.get(name) for name in OWN}
    weight = own["weight_ih"]
    assert weight is not None  # every cell has one
    after = _step(module, own, linear(inputs, weight, own["bias_ih"]), states)
    return after if isinstance(module, nn.LSTMCell) else after[0]


def _step(module: Any, own: Own, gates: Tensor, states: States) -> States:
    """Take one step, from the gates of the inputs and the states before."""
    weight = own["weight_hh"]
    assert weight is not None  # every recurrent layer has one
    hidden = states[0]
    recurrent = linear(hidden, weight, own["bias_hh"])
    if isinstance(module, nn.LSTM | nn.LSTMCell):
        i, f, g, o = (gates + recurrent).chunk(4, dim=-1)
        cell = f.sigmoid() * states[1] + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
        projection = own.get("weight_hr")
        return (hidden if projection is None else linear(hidden, projection)), cell
    if isinstance(module, nn.GRU | nn.GRUCell):
        (r, z, n), (r_h, z_h, n_h) = gates.chunk(3, dim=-1), recurrent.chunk(3, dim=-1)
        keep = (z + z_h).sigmoid()
        new = (n + (r + r_h).sigmoid() * n_h).tanh()
        return ((1 - keep) * new + keep * hidden,)
    total = gates + recurrent
    return (total.relu() if module.nonlinearity == "relu" else total.tanh(),)


def _initial(module: nn.RNNBase, inputs: Tensor, states: Any) -> States:
    """Return the given states (layers, b, width) or zeros."""
    if states is not None:
        return tuple(states) if isinstance(states, tuple) else (states,)
    count = module.num_layers * (2 if module.bidirectional else 1)
    hidden = inputs.new_zeros(
        count, inputs.shape[1], module.proj_size or module.hidden_size
    )
    if not isinstance(module, nn.LSTM):
        return (hidden,)
    return hidden, inputs.new_zeros(count, inputs.shape[1], module.hidden_size)


def _each(function: Callable[[Tensor], Tensor], states: Any) -> Any:
    if isinstance(states, tuple):
        return tuple(map(function, states))
    return None if states is None else function(states)
