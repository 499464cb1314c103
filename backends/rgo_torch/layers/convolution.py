"""Convolutions: their patches as rows, and products with patches never cut."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from array_api_compat import torch as xp
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv1d_input, conv2d_input

import rgo_core
from rgo_core import Axes
from rgo_core.vectors import Per, Reduce
from rgo_torch.layers.geometry import padding_of, pair
from rgo_torch.layers.layer import Call, Channels, Vectors
from rgo_torch.layers.rows import LinearLayer, RowLayer
from rgo_torch.modules.torch_private import convolves_as

Convolution = nn.Conv1d | nn.Conv2d


class ConvolutionLayer(RowLayer):
    """`torch.nn.Conv1d` or `Conv2d`, any stride, padding, dilation and groups.

    A sequence (b, c, w) is seen as an image (b, c, 1, w) of one row.
    """

    # Positions and outputs are too many to be told apart.
    own_vectors: tuple[Per, Reduce] = ("sample", "mean")

    def __init__(self, name: str, module: Convolution) -> None:
        super().__init__(name, module, convolution_axes(module))
        self.groups = module.groups
        self.outputs = module.out_channels // module.groups
        self.features = module.weight[0].numel()
        self.channel_axis = 1 - module.weight.ndim
        self.channels = Channels(self.width, self.channel_axis)
        if module.groups == 1:
            self.takes = Channels(module.in_channels, self.channel_axis)
        self._convolution = module
        self._padding = padding_of(module)
        sides = zip(module.kernel_size, module.stride, strict=True)
        if all(side <= stride for side, stride in sides):
            # A linear layer over patches that share nothing, as a ViT's first.
            self.own_vectors = LinearLayer.own_vectors

    def input_rows(self, inputs: Tensor) -> Tensor:
        """Cut (b, c, h, w) into patches: one a position, n = c * kernel area."""
        module = self._convolution
        patches = functional.unfold(
            self._padded(inputs),
            pair(module.kernel_size),
            dilation=pair(module.dilation),
            stride=pair(module.stride),
        )  # (b, g * n, p)
        return self._split_groups(patches.transpose(1, 2), self.features)

    def output_rows(self, outputs: Tensor) -> Tensor:
        """See (b, m, h, w) as (b, p, m)."""
        channels = self._batched(outputs).flatten(2)
        return self._split_groups(channels.transpose(1, 2), self.outputs)

    def row_count(self, inputs: Tensor) -> int:
        """Return the samples of (b, c, h, w) times the positions of the output."""
        module = self._convolution
        padding = self._padding
        sizes = [
            length + padding[-2 * axis] + padding[1 - 2 * axis]
            for axis, length in enumerate(inputs.shape[self.channel_axis + 1 :], 1)
        ]
        samples = 1 if inputs.ndim < module.weight.ndim else inputs.shape[0]
        return samples * math.prod(self._output_size(*pair(sizes)))

    def call(self, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return the convolution, for padding by numbers of zeros."""
        module = self._convolution
        convolve: Any = functional.conv2d if weight.ndim == 4 else functional.conv1d
        output: Tensor = convolve(
            inputs,
            weight,
            bias,
            module.stride,
            module.padding,
            module.dilation,
            module.groups,
        )
        return output

    def input_gradient(self, inputs: Tensor, weight: Tensor, outputs: Tensor) -> Tensor:
        """Return the transposed convolution, for padding by numbers of zeros."""
        module = self._convolution
        of_input: Any = conv2d_input if weight.ndim == 4 else conv1d_input
        gradient: Tensor = of_input(
            list(self._batched(inputs).shape),
            weight,
            self._batched(outputs),
            stride=module.stride,
            padding=module.padding,
            dilation=module.dilation,
            groups=module.groups,
        )
        return gradient.reshape(inputs.shape)

    @property
    def is_plain(self) -> bool:
        """Whether the forward is the class's, padding with as many zeros each side."""
        module = self._convolution
        known = nn.Conv2d if isinstance(module, nn.Conv2d) else nn.Conv1d
        return (
            convolves_as(module, known)
            and module.padding_mode == "zeros"
            and not isinstance(module.padding, str)
        )

    def weight_vectors(
        self,
        used: Sequence[tuple[RowLayer, Call]],
        gradients: Sequence[Tensor],
        per: Per,
        wanted: Vectors,
    ) -> Tensor:
        """Return the vectors of the weight, from no patches where positions add up."""
        if per == "position":
            return super().weight_vectors(used, gradients, per, wanted)
        parts = []
        for (layer, call), gradient in zip(used, gradients, strict=True):
            assert isinstance(layer, ConvolutionLayer)  # what the first is they all are
            columns = rgo_core.reduce_outputs(
                gradient, reduce=wanted.reduce or "mean", xp=xp
            )
            parts.append(layer.contract(call.inputs.to(columns.dtype), columns, per))
        return torch.stack(parts).sum(0).flatten(-4, -2)

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
        g, k, b, p, q = grouped.shape
        padded = self._padded(inputs)
        size = self._output_size(*padded.shape[-2:])
        if math.prod(size) != p:
            raise ValueError(
                f"{self.name}: expected {math.prod(size)} positions, those of the "
                f"convolution's own output of inputs of shape {tuple(inputs.shape)}, "
                f"got {p}: the forward put on this {type(module).__name__} does "
                "something else; pad before the layer, or make a subclass"
            )
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
            stride=pair(module.dilation),
            dilation=pair(module.stride),
            groups=apart * g,
        )
        height, width = pair(module.kernel_size)
        # A stride may leave out the last rows of an input: no patch has them.
        vectors = products[..., :height, :width].reshape(
            -1, apart, g, k, q, height * width
        )
        vectors = vectors.permute(2, 3, 1, 4, 0, 5).flatten(-2)
        return vectors if columns.ndim == 5 else vectors[0]

    def _padded(self, inputs: Tensor) -> Tensor:
        module = self._convolution
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        padded = functional.pad(self._batched(inputs), self._padding, mode=mode)
        return padded if padded.ndim == 4 else padded[:, :, None]

    def _batched(self, tensor: Tensor) -> Tensor:
        return tensor if tensor.ndim == self._convolution.weight.ndim else tensor[None]

    def _output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of the output for that of a padded input."""
        module = self._convolution
        spans = (
            (length - d * (k - 1) - 1) // s + 1
            for length, k, d, s in zip(
                (height, width),
                pair(module.kernel_size),
                pair(module.dilation),
                pair(module.stride),
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


def convolution_axes(module: Any) -> dict[str, Axes]:
    """Return the axes of a convolution's weight and bias."""
    groups, (outputs, *kernel) = module.groups, module.weight.shape
    inputs = tuple(range(2, len(kernel) + 2))
    weight = (
        Axes(
            groups=(0,),
            outputs=(1,),
            inputs=inputs,
            shape=(groups, outputs // groups, *kernel),
        )
        if groups > 1
        else Axes(outputs=(0,), inputs=tuple(range(1, len(kernel) + 1)))
    )
    return {"weight": weight, "bias": Axes(inputs=(0,))}
