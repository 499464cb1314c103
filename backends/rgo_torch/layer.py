"""A layer RGO knows, and its tensors as rows of features.

Everything here is a view or a copy of what PyTorch holds; the mathematics is in
`rgo_core`. A weight is seen as (m, n): one output a row, as PyTorch stores it, which
is the transpose of the paper's n x m. A convolution with g groups is g such matrices,
(g, m / g, n), since each group of outputs sees inputs of its own.
"""

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.nn import functional


class Layer(ABC):
    """A module with a weight and perhaps a bias, and its tensors as rows.

    Attributes
    ----------
    name : str
        The module's name in its model.
    module : nn.Module
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

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name = name
        self.module = module

    @property
    def weight(self) -> nn.Parameter:
        """The module's weight."""
        return self.module.get_parameter("weight")

    @property
    def bias(self) -> nn.Parameter | None:
        """The module's bias, where it has one that is a parameter."""
        return self.module._parameters.get("bias")

    @property
    def width(self) -> int:
        """How many units or channels the output has."""
        return self.groups * self.outputs

    def weight_rows(self, weight: Tensor) -> Tensor:
        """View a weight, or its gradient, as (m, n), or (g, m / g, n) with groups."""
        groups = () if self.groups == 1 else (self.groups,)
        return weight.reshape(*groups, self.outputs, self.features)

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

    @abstractmethod
    def row_count(self, inputs: Tensor) -> int:
        """Return how many rows r, samples times positions, `input_rows` would give."""

    @abstractmethod
    def call(self, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the layer's output, for a weight and a bias in place of its own."""

    @abstractmethod
    def input_gradient(self, inputs: Tensor, weight: Tensor, outputs: Tensor) -> Tensor:
        """Return the gradient in the input, given that in the output."""


class LinearLayer(Layer):
    """`torch.nn.Linear`; axes between the first and the last count as positions."""

    def __init__(self, name: str, module: nn.Linear) -> None:
        super().__init__(name, module)
        self.features, self.outputs = module.in_features, module.out_features

    @property
    def is_plain(self) -> bool:
        """Whether no subclass has a forward of its own."""
        return type(self.module).forward is nn.Linear.forward

    def input_rows(self, inputs: Tensor) -> Tensor:
        """See (b, ..., n) as (b, p, n)."""
        return _positions(inputs)

    def output_rows(self, outputs: Tensor) -> Tensor:
        """See (b, ..., m) as (b, p, m)."""
        return _positions(outputs)

    def row_count(self, inputs: Tensor) -> int:
        """Return the entries of (b, ..., n) over n."""
        return inputs.numel() // self.features

    def call(self, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return ``X W^T + b``."""
        output: Tensor = functional.linear(inputs, weight, bias)
        return output

    def input_gradient(self, inputs: Tensor, weight: Tensor, outputs: Tensor) -> Tensor:
        """Return ``D W``."""
        return outputs @ weight


def rows_of(tensor: Tensor) -> Tensor:
    """Join samples and positions: (..., b, p, f) as (..., b p, f)."""
    return tensor.reshape(*tensor.shape[:-3], -1, tensor.shape[-1])


def _positions(tensor: Tensor) -> Tensor:
    if tensor.ndim == 1:
        tensor = tensor[None]
    return tensor.reshape(tensor.shape[0], -1, tensor.shape[-1])
