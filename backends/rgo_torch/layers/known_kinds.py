"""The classes of modules that RGO knows from the start, and what serves them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import nn

from rgo_core import Axes
from rgo_torch.layers.attention import AttentionLayer, attention_axes
from rgo_torch.layers.convolution import ConvolutionLayer, convolution_axes
from rgo_torch.layers.embedding import EMBEDDING, EmbeddingLayer
from rgo_torch.layers.layer import Channels, Layer
from rgo_torch.layers.normalization import (
    NORMALIZATIONS,
    NormalizationLayer,
    normalization_axes,
)
from rgo_torch.layers.recurrent import CellLayer, RecurrentLayer, recurrent_axes
from rgo_torch.layers.rows import LINEAR, LinearLayer

FindAxes = Callable[[nn.Module], Mapping[str, Axes]]
FindChannels = Callable[[nn.Module], Channels]
# From (name, module, the class in the table) to a layer.
MakeLayer = Callable[[str, nn.Module, type[nn.Module]], Layer]


class Kind(NamedTuple):
    """What is known of a class of modules."""

    axes: FindAxes
    channels: FindChannels | None = None
    sample_axis: int = 0
    # The fast path; by `torch.func` where None.
    layer: MakeLayer | None = None
    # Submodules whose parameters it uses without calling them.
    owns: tuple[str, ...] = ()
    # The fast path of a subclass whose forward calls one of these functions itself.
    around: MakeLayer | None = None
    functions: frozenset[str] = frozenset()


def constant(parameters: Mapping[str, Axes]) -> FindAxes:
    """Return what finds the same axes for every module."""
    given = dict(parameters)
    return lambda module: given


def _transposed_axes(module: nn.Module) -> dict[str, Axes]:
    """Return the axes of a transposed convolution (c, m / g, *kernel)."""
    weight: Any = module.weight  # which may be computed
    groups, (inputs, outputs, *kernel) = int(module.groups), weight.shape  # type: ignore[arg-type]
    places = tuple(range(3, 3 + len(kernel)))
    if groups == 1:
        dense = Axes(outputs=(1,), inputs=(0, *(place - 1 for place in places)))
    else:
        shape = (groups, inputs // groups, outputs, *kernel)
        dense = Axes(groups=(0,), outputs=(2,), inputs=(1, *places), shape=shape)
    return {"weight": dense, "bias": Axes(inputs=(0,))}


def _lora_embedding_axes(module: nn.Module) -> dict[str, Axes]:
    """Return the axes of A (r, vocabulary) and B (m, r) beside an embedding."""
    return {
        name: EMBEDDING._replace(inputs=(1,), outputs=(0,))
        if name.startswith("lora_embedding_A.")
        else LINEAR["weight"]
        for name, _ in module.named_parameters()
        if name.startswith("lora_embedding_")
    }


def _last_axis(width: str) -> FindChannels:
    return lambda module: Channels(int(getattr(module, width)))


def _convolution_channels(module: nn.Module) -> Channels:
    kernel: Any = module.kernel_size
    return Channels(int(module.out_channels), -1 - len(kernel))  # type: ignore[arg-type]


def _linear(axes: Mapping[str, Axes]) -> MakeLayer:
    return lambda name, module, known: LinearLayer(name, module, axes, known)


def _convolution(name: str, module: Any, known: type[nn.Module]) -> Layer:
    return ConvolutionLayer(name, module)


def _embedding(name: str, module: Any, known: type[nn.Module]) -> Layer:
    return EmbeddingLayer(name, module)


def _around_embedding(name: str, module: Any, known: type[nn.Module]) -> Layer:
    return EmbeddingLayer(name, module, is_around=True)


def _attention(name: str, module: Any, known: type[nn.Module]) -> Layer:
    return AttentionLayer(name, module)


def _normalization(name: str, module: Any, known: type[nn.Module]) -> Layer:
    return NormalizationLayer(name, module, normalization_axes(module))


def _cell(name: str, module: Any, known: type[nn.Module]) -> Layer:
    return CellLayer(name, module)


def _recurrent(name: str, module: Any, known: type[nn.Module]) -> Layer:
    return RecurrentLayer(name, module)


DENSE_OUTPUTS_LAST = {
    "weight": Axes(outputs=(1,), inputs=(0,)),
    "bias": Axes(inputs=(0,)),
}


KNOWN: dict[type[nn.Module] | str, Kind] = {
    nn.Linear: Kind(
        constant(LINEAR), _last_axis("out_features"), layer=_linear(LINEAR)
    ),
    nn.Bilinear: Kind(
        constant(
            {
                "weight": Axes(outputs=(0,), inputs=(1, 2)),
                "bias": Axes(inputs=(0,)),
            }
        ),
        _last_axis("out_features"),
    ),
    nn.Conv1d: Kind(convolution_axes, _convolution_channels, layer=_convolution),
    nn.Conv2d: Kind(convolution_axes, _convolution_channels, layer=_convolution),
    nn.Conv3d: Kind(convolution_axes, _convolution_channels),
    **dict.fromkeys(
        (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
        Kind(_transposed_axes, _convolution_channels),
    ),
    nn.Embedding: Kind(
        constant({"weight": EMBEDDING}),
        _last_axis("embedding_dim"),
        layer=_embedding,
        around=_around_embedding,
        functions=frozenset({"embedding", "forward"}),  # super().forward
    ),
    nn.EmbeddingBag: Kind(constant({"weight": EMBEDDING}), _last_axis("embedding_dim")),
    nn.MultiheadAttention: Kind(
        attention_axes,
        _last_axis("embed_dim"),
        layer=_attention,
        owns=("out_proj",),
    ),
    **dict.fromkeys(
        (nn.RNN, nn.GRU, nn.LSTM),
        Kind(recurrent_axes, layer=_recurrent),
    ),
    **dict.fromkeys(
        (nn.RNNCell, nn.GRUCell, nn.LSTMCell), Kind(recurrent_axes, layer=_cell)
    ),
    **dict.fromkeys(NORMALIZATIONS, Kind(normalization_axes, layer=_normalization)),
    "peft.tuners.lora.layer.Embedding": Kind(
        _lora_embedding_axes, owns=("lora_embedding_A", "lora_embedding_B")
    ),
    "transformers.pytorch_utils.Conv1D": Kind(
        constant(DENSE_OUTPUTS_LAST),
        _last_axis("nf"),
        layer=_linear(DENSE_OUTPUTS_LAST),
    ),
}
