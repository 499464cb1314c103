"""Layers whose weight gradient is a product of rows: ``D^T X``.

X holds the inputs of a layer, D its output gradients, a sample's position a row.
Everything here is a view or a copy of what PyTorch holds; the mathematics is in
`rgo_core`. A weight is seen as (m, n): one output a row. A convolution with g groups is
g such matrices, (g, m / g, n), since each group of outputs sees inputs of its own.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
from array_api_compat import torch as xp
from torch import Tensor, nn
from torch.nn import functional

import rgo_core
from rgo_core import Axes
from rgo_core.vectors import Per
from rgo_torch.layers.layer import Call, Channels, Layer, Use, Vectors
from rgo_torch.modules.torch_private import own_parameters

LINEAR = {"weight": Axes(inputs=(1,), outputs=(0,)), "bias": Axes(inputs=(0,))}


class RowLayer(Layer):
    """A layer with a weight and perhaps a bias, and its tensors as rows.

    Attributes
    ----------
    features : int
        n, the inputs of one output unit or channel.
    outputs : int
        m, the output units or channels of one group.
    groups : int
        How many groups of outputs have inputs of their own.
    channel_axis : int
        Where the module's output has its units or channels.
    """

    features: int
    outputs: int
    groups: int = 1
    channel_axis: int = -1
    # What the encoding permutes comes after.
    records_first = True

    @property
    def weight(self) -> nn.Parameter:
        """The module's weight."""
        return self.module.get_parameter("weight")

    @property
    def bias(self) -> nn.Parameter | None:
        """The module's bias, where it has one that is a parameter."""
        return own_parameters(self.module).get("bias")

    @property
    def width(self) -> int:
        """How many units or channels the output has."""
        return self.groups * self.outputs

    def weight_rows(self, weight: Tensor) -> Tensor:
        """View a weight, or its gradient, as (m, n), or (g, m / g, n) with groups."""
        groups = () if self.groups == 1 else (self.groups,)
        return weight.reshape(*groups, self.outputs, self.features)

    def weight_product(self, gradients: Tensor, rows: Tensor) -> Tensor:
        """Return ``D^T X`` of rows, shaped as the weight and contiguous."""
        return (gradients.mT @ rows).reshape(self.weight.shape)

    @property
    @abstractmethod
    def is_plain(self) -> bool:
        """Whether `call` and `input_gradient` are what the module's forward does."""

    @abstractmethod
    def input_rows(self, inputs: Tensor) -> Tensor:
        """See the module's input as (b, p, n), or (g, b, p, n) with groups."""

    @abstractmethod
    def output_rows(self, outputs: Tensor) -> Tensor:
        """See an output gradient as (b, p, m), or (g, b, p, m / g) with groups."""

    def all_rows(self, inputs: Tensor) -> Tensor:
        """See the module's input as rows (r, n), or (g, r, n) with groups."""
        return rows_of(self.input_rows(inputs))

    def all_gradient_rows(self, outputs: Tensor) -> Tensor:
        """See an output gradient as rows (r, m), or (g, r, m / g) with groups."""
        return rows_of(self.output_rows(outputs))

    @abstractmethod
    def row_count(self, inputs: Tensor) -> int:
        """Return how many rows r, samples times positions, `input_rows` would give."""

    @abstractmethod
    def call(self, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the layer's output, for a weight and a bias in place of its own."""

    @abstractmethod
    def input_gradient(self, inputs: Tensor, weight: Tensor, outputs: Tensor) -> Tensor:
        """Return the gradient in the input, given that in the output."""

    def gradient_rows(self, call: Call) -> Tensor:
        """Return D (..., k, b, p, m) of a call."""
        rows = [self._one_gradient(row) for row in call.gradients]
        return torch.stack(rows, dim=-4).to(call.dtype)

    def vectors(self, uses: Sequence[Use], wanted: Vectors) -> Tensor:
        """Return the vectors of the weight or the bias from the rows of all calls."""
        used = [(_row_layer(use), use.call) for use in uses]
        gradients = [layer.gradient_rows(call) for layer, call in used]
        per = self._per(gradients, wanted)
        if uses[0].own == "bias":
            joined = _join_groups(_joined(gradients))
            found: Tensor = rgo_core.bias_vectors(joined, per=per, xp=xp)
            return found
        return self.weight_vectors(used, gradients, per, wanted)

    def weight_vectors(
        self,
        used: Sequence[tuple["RowLayer", Call]],
        gradients: Sequence[Tensor],
        per: Per,
        wanted: Vectors,
    ) -> Tensor:
        """Return the vectors of the weight: the positions of several calls as one's."""
        rows = [layer.input_rows(call.inputs).to(call.dtype) for layer, call in used]
        reduce, inputs = wanted.reduce or "rms", _joined(rows)
        found: Tensor = rgo_core.curvature_vectors(
            inputs, _joined(gradients), per=per, reduce=reduce, xp=xp
        )
        return found

    def _one_gradient(self, gradients: list[Tensor | None]) -> Tensor:
        (gradient,) = gradients
        assert gradient is not None  # calls without one are left out
        return self.output_rows(gradient)

    def _per(self, gradients: Sequence[Tensor], wanted: Vectors) -> Per:
        """Return what counts as a sample, where the first axis may hold others."""
        counts = {tensor.shape[-3] for tensor in gradients}
        others = counts - {wanted.samples}
        if others and not self.tells_samples(max(others), wanted):
            return "position"
        assert wanted.per is not None  # resolved before
        return wanted.per


class LinearLayer(RowLayer):
    """`torch.nn.Linear`; axes between the first and the last count as positions.

    And what stores its weight the other way round, (n, m), like the Conv1D of
    transformers.
    """

    own_vectors = ("position", "rms")

    def __init__(
        self,
        name: str,
        module: nn.Module,
        axes: Mapping[str, Axes] = LINEAR,
        known: type[nn.Module] = nn.Linear,
    ) -> None:
        super().__init__(name, module, axes)
        (inputs,), (outputs,) = axes["weight"].inputs, axes["weight"].outputs
        shape = self.weight.shape
        self.features, self.outputs = shape[inputs], shape[outputs]
        self.channels = Channels(self.outputs)
        self.takes = Channels(self.features)
        self._known = known
        self._outputs_first = outputs == 0

    def weight_rows(self, weight: Tensor) -> Tensor:
        """View a weight as (m, n)."""
        return weight if self._outputs_first else weight.mT

    def weight_product(self, gradients: Tensor, rows: Tensor) -> Tensor:
        """Return ``D^T X``, or ``X^T D`` where the weight lies so."""
        return gradients.mT @ rows if self._outputs_first else rows.mT @ gradients

    @property
    def is_plain(self) -> bool:
        """Whether no subclass has a forward of its own."""
        return type(self.module).forward is self._known.forward

    def input_rows(self, inputs: Tensor) -> Tensor:
        """See (b, ..., n) as (b, p, n)."""
        return _positions(inputs)

    def output_rows(self, outputs: Tensor) -> Tensor:
        """See (b, ..., m) as (b, p, m)."""
        return _positions(outputs)

    def all_rows(self, inputs: Tensor) -> Tensor:
        """See (b, ..., n) as (r, n)."""
        return inputs if inputs.ndim == 2 else inputs.reshape(-1, self.features)

    def all_gradient_rows(self, outputs: Tensor) -> Tensor:
        """See (b, ..., m) as (r, m)."""
        return outputs if outputs.ndim == 2 else outputs.reshape(-1, self.outputs)

    def row_count(self, inputs: Tensor) -> int:
        """Return the entries of (b, ..., n) over n."""
        return inputs.numel() // self.features

    def call(self, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return ``X W^T + b``."""
        by_outputs = weight if self._outputs_first else weight.mT
        output: Tensor = functional.linear(inputs, by_outputs, bias)
        return output

    def input_gradient(self, inputs: Tensor, weight: Tensor, outputs: Tensor) -> Tensor:
        """Return ``D W``."""
        return outputs @ (weight if self._outputs_first else weight.mT)


def _joined(calls: Sequence[Tensor]) -> Tensor:
    """Join the positions of calls; all rows as one sample's where they have others."""
    if len({tensor.shape[-3] for tensor in calls}) > 1:
        calls = [rows_of(tensor).unsqueeze(-3) for tensor in calls]
    return torch.cat(list(calls), dim=-2)


def rows_of(tensor: Tensor) -> Tensor:
    """Join samples and positions: (..., b, p, f) as (..., b p, f)."""
    return tensor.reshape(*tensor.shape[:-3], -1, tensor.shape[-1])


def _join_groups(gradients: Tensor) -> Tensor:
    """See (g, k, b, p, m / g) as (k, b, p, m)."""
    if gradients.ndim == 4:
        return gradients
    return gradients.permute(1, 2, 3, 0, 4).flatten(3)


def _row_layer(use: Use) -> RowLayer:
    assert isinstance(use.layer, RowLayer)  # what the first is they all are
    return use.layer


def _positions(tensor: Tensor) -> Tensor:
    if tensor.ndim == 1:
        tensor = tensor[None]
    return tensor.reshape(tensor.shape[0], -1, tensor.shape[-1])
