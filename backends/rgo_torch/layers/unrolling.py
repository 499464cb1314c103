"""Recurrent networks, step by step: the fused ones have no gradients by sample."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from rgo_torch.encoding.hooks import CELLS
from rgo_torch.encoding.recurrence import permuted_inputs

States = tuple[Tensor, ...]  # h, and c of an LSTM, each (b, width)
# ``multiply(name, inputs, weight, bias)``, by the name of the weight in the module.
Multiply = Callable[[str, Tensor, Tensor, Tensor | None], Tensor]


def multiplied(
    name: str, inputs: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """Return ``X W^T + b``."""
    return linear(inputs, weight, bias)


class Own(NamedTuple):
    """The parameters of one layer in one direction, and what multiplies by them."""

    module: nn.Module
    parameters: Mapping[str, Tensor]
    suffix: str
    multiply: Multiply

    def has(self, place: str) -> bool:
        """Whether there is a weight: "ih", "hh", or "hr" of a projection."""
        return f"weight_{place}{self.suffix}" in self.parameters

    def product(self, place: str, inputs: Tensor) -> Tensor:
        """Return the product of inputs and a weight, and the bias beside it."""
        name = f"weight_{place}{self.suffix}"
        bias = self.parameters.get(f"bias_{place}{self.suffix}")
        inputs = permuted_inputs(self.module, name, inputs)
        return self.multiply(name, inputs, self.parameters[name], bias)


def unrolled(
    module: nn.Module,
    parameters: Mapping[str, Tensor],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    multiply: Multiply = multiplied,
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
    multiply : callable
        What makes a product of inputs and a weight.
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
                Own(module, parameters, suffix, multiply),
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
    gates = own.product("ih", inputs)
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
    multiply: Multiply = multiplied,
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
    own = Own(module, parameters, "", multiply)
    after = _step(module, own, own.product("ih", inputs), states)
    return after if isinstance(module, nn.LSTMCell) else after[0]


def _step(module: Any, own: Own, gates: Tensor, states: States) -> States:
    """Take one step, from the gates of the inputs and the states before."""
    hidden = states[0]
    recurrent = own.product("hh", hidden)
    if isinstance(module, nn.LSTM | nn.LSTMCell):
        i, f, g, o = (gates + recurrent).chunk(4, dim=-1)
        cell = f.sigmoid() * states[1] + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
        return (own.product("hr", hidden) if own.has("hr") else hidden), cell
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
