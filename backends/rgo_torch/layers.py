"""The layers RGO knows, and their tensors as rows of features.

Everything here is a view or a copy of what PyTorch holds; the mathematics is in
`rgo_core`. A weight is seen as (m, n): one output a row, as PyTorch stores it, which
is the transpose of the paper's n x m. A convolution with g groups is g such matrices,
(g, m / g, n), since each group of outputs sees inputs of its own.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_input

from rgo_core.vectors import Per


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


class Conv2dLayer(Layer):
    """`torch.nn.Conv2d` with any stride, padding, dilation and groups."""

    channel_axis = -3

    def __init__(self, name: str, module: nn.Conv2d) -> None:
        super().__init__(name, module)
        self.groups = module.groups
        self.outputs = module.out_channels // module.groups
        self.features = module.weight[0].numel()
        self._convolution = module

    def input_rows(self, inputs: Tensor) -> Tensor:
        """Cut (b, c, h, w) into patches: one a position, n = c * kernel area."""
        module = self._convolution
        patches = functional.unfold(
            self._padded(inputs),
            _pair(module.kernel_size),
            dilation=_pair(module.dilation),
            stride=_pair(module.stride),
        )  # (b, g * n, p)
        return self._split_groups(patches.transpose(1, 2), self.features)

    def output_rows(self, outputs: Tensor) -> Tensor:
        """See (b, m, h, w) as (b, p, m)."""
        channels = _batched_image(outputs).flatten(2)
        return self._split_groups(channels.transpose(1, 2), self.outputs)

    def row_count(self, inputs: Tensor) -> int:
        """Return the samples of (b, c, h, w) times the positions of the output."""
        module = self._convolution
        padding = module._reversed_padding_repeated_twice
        height = inputs.shape[-2] + padding[2] + padding[3]
        width = inputs.shape[-1] + padding[0] + padding[1]
        samples = 1 if inputs.ndim == 3 else inputs.shape[0]
        return samples * math.prod(self._output_size(height, width))

    def call(self, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the convolution."""
        output: Tensor = self._convolution._conv_forward(inputs, weight, bias)
        return output

    def input_gradient(self, inputs: Tensor, weight: Tensor, outputs: Tensor) -> Tensor:
        """Return the transposed convolution, for padding by numbers of zeros."""
        module = self._convolution
        gradient: Tensor = conv2d_input(
            list(_batched_image(inputs).shape),
            weight,
            _batched_image(outputs),
            stride=_pair(module.stride),
            padding=module.padding,
            dilation=_pair(module.dilation),
            groups=module.groups,
        )
        return gradient.reshape(inputs.shape)

    @property
    def pads_plainly(self) -> bool:
        """Whether the padding is zeros, as many on either side."""
        module = self._convolution
        return module.padding_mode == "zeros" and not isinstance(module.padding, str)

    def contract(self, inputs: Tensor, columns: Tensor, per: Per) -> Tensor:
        """Multiply patches by columns over all positions, without the patches.

        Parameters
        ----------
        inputs : Tensor (b, c, h, w)
        columns : Tensor (k, b, p, q) or (g, k, b, p, q)
            q columns a sample and cotangent, as `rgo_core.reduce_outputs` gives them.
        per : {"sample", "batch"}
            Whether samples stay apart or are summed over.

        Returns
        -------
        Tensor (k, b, q, n) or (g, k, b, q, n)
            ``C^T X`` with the rows X of `input_rows`; b is 1 for ``per="batch"``.

        Notes
        -----
        The columns slide over the input as kernels: stride and dilation change places.
        """
        module = self._convolution
        grouped = columns if columns.ndim == 5 else columns[None]
        g, k, b, _, q = grouped.shape
        padded = self._padded(inputs)
        size = self._output_size(*padded.shape[-2:])
        images = padded.reshape(b, g, -1, *padded.shape[-2:])
        if per == "sample":
            images = images.permute(2, 0, 1, 3, 4)  # (c / g, b, g, h, w)
            kernels = grouped.permute(2, 0, 1, 4, 3).reshape(b * g * k * q, 1, *size)
            apart = b
        else:
            images = images.permute(2, 1, 0, 3, 4)  # (c / g, g, b, h, w)
            kernels = grouped.permute(0, 1, 4, 2, 3).reshape(g * k * q, b, *size)
            apart = 1
        products = functional.conv2d(
            images.flatten(1, 2),
            kernels,
            stride=_pair(module.dilation),
            dilation=_pair(module.stride),
            groups=apart * g,
        )
        height, width = _pair(module.kernel_size)
        # A stride may leave out the last rows of an input: no patch has them.
        vectors = products[..., :height, :width].reshape(
            -1, apart, g, k, q, height * width
        )
        vectors = vectors.permute(2, 3, 1, 4, 0, 5).flatten(-2)
        return vectors if columns.ndim == 5 else vectors[0]

    def _padded(self, inputs: Tensor) -> Tensor:
        module = self._convolution
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        return functional.pad(
            _batched_image(inputs), module._reversed_padding_repeated_twice, mode=mode
        )

    def _output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of the output for that of a padded input."""
        module = self._convolution
        spans = (
            (length - d * (k - 1) - 1) // s + 1
            for length, k, d, s in zip(
                (height, width),
                module.kernel_size,
                module.dilation,
                module.stride,
                strict=True,
            )
        )
        rows, columns = spans
        return rows, columns

    def _split_groups(self, rows: Tensor, width: int) -> Tensor:
        if self.groups == 1:
            return rows
        split = rows.reshape(*rows.shape[:2], self.groups, width)
        return split.permute(2, 0, 1, 3)


class Skipped(NamedTuple):
    """A module with parameters that RGO leaves as they are, and why."""

    name: str
    reason: str


def find_layers(model: nn.Module) -> tuple[list[Layer], list[Skipped]]:
    """Return the layers of a model that RGO projects, and those that it does not.

    Raises
    ------
    ValueError
        If a module has parameters without a shape yet (a lazy module before its first
        call).
    """
    layers: list[Layer] = []
    skipped: list[Skipped] = []
    for name, module in named_modules(model):
        if not any(True for _ in module.parameters(recurse=False)):
            continue
        layer = _as_layer(name, module)
        if isinstance(layer, Layer):
            layers.append(layer)
        else:
            skipped.append(Skipped(name or type(module).__name__, layer))
    return layers, skipped


def original_model(model: nn.Module) -> nn.Module:
    """Return the model behind `torch.compile` and (Distributed)DataParallel."""
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while True:
        inner = getattr(model, "_orig_mod", None)
        if isinstance(model, wrappers):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def is_compiled(model: nn.Module) -> bool:
    """Tell whether the model, or a part of it, went through `torch.compile`."""
    return any(
        hasattr(module, "_orig_mod") or module._compiled_call_impl is not None
        for module in model.modules()
    )


def named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield modules by name, which does not depend on what is compiled or wrapped."""
    for name, module in original_model(model).named_modules():
        if not hasattr(module, "_orig_mod"):
            parts = [part for part in name.split(".") if part != "_orig_mod"]
            yield ".".join(parts), module


def _as_layer(name: str, module: nn.Module) -> Layer | str:
    kind = type(module).__name__
    for parameter in module.parameters(recurse=False):
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise ValueError(
                f"module {name!r} ({kind}) has no shape yet: call the model once before"
            )
        if not parameter.is_floating_point():
            return f"{kind} with parameters of {parameter.dtype}"
    if isinstance(module, nn.Linear | nn.Conv2d):
        if not isinstance(module._parameters.get("weight"), nn.Parameter):
            return f"{kind} whose weight is computed by a parametrization"
        if isinstance(module, nn.modules.linear.NonDynamicallyQuantizableLinear):
            return f"{kind}, which nn.MultiheadAttention uses without calling it"
        if isinstance(module, nn.Linear):
            return LinearLayer(name, module)
        return Conv2dLayer(name, module)
    return f"{kind} is neither Linear nor Conv2d"


def _positions(tensor: Tensor) -> Tensor:
    if tensor.ndim == 1:
        tensor = tensor[None]
    return tensor.reshape(tensor.shape[0], -1, tensor.shape[-1])


def _batched_image(tensor: Tensor) -> Tensor:
    return tensor if tensor.ndim == 4 else tensor[None]


def _pair(value: tuple[int, ...]) -> tuple[int, int]:
    return value[0], value[1]


def rows_of(tensor: Tensor) -> Tensor:
    """Join samples and positions: (..., b, p, f) as (..., b p, f)."""
    return tensor.reshape(*tensor.shape[:-3], -1, tensor.shape[-1])
