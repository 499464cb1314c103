"""The layers RGO knows, and their tensors as rows of features.

Everything here is a view or a copy of what PyTorch holds; the mathematics is in
`rgo_core`. A weight is seen as (m, n): one output a row, as PyTorch stores it, which
is the transpose of the paper's n x m. A convolution with g groups is g such matrices,
(g, m / g, n), since each group of outputs sees inputs of its own.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

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

    @abstractmethod
    def input_rows(self, inputs: Tensor) -> Tensor:
        """See the module's input as (b, p, n), or (g, b, p, n) with groups."""

    @abstractmethod
    def output_rows(self, outputs: Tensor) -> Tensor:
        """See an output gradient as (b, p, m), or (g, b, p, m / g) with groups."""


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
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        padded = functional.pad(
            _batched_image(inputs), module._reversed_padding_repeated_twice, mode=mode
        )
        patches = functional.unfold(
            padded,
            _pair(module.kernel_size),
            dilation=_pair(module.dilation),
            stride=_pair(module.stride),
        )  # (b, g * n, p)
        return self._split_groups(patches.transpose(1, 2), self.features)

    def output_rows(self, outputs: Tensor) -> Tensor:
        """See (b, m, h, w) as (b, p, m)."""
        channels = _batched_image(outputs).flatten(2)
        return self._split_groups(channels.transpose(1, 2), self.outputs)

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
