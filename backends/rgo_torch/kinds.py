"""What RGO knows of classes of modules: the axes of their parameters, and a fast path.

One table, open to users by `register_layout`. A class that is not in it has parameters
that act entry by entry, as far as RGO can tell.
"""

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


KINDS: dict[type[nn.Module] | str, Kind] = {}


def register_layout(
    kind: type[nn.Module] | str,
    parameters: Mapping[str, Axes] | FindAxes,
    *,
    channels: FindChannels | None = None,
    sample_axis: int = 0,
) -> None:
    """Tell RGO the layout of a class of modules, for all models from now on.

    Parameters
    ----------
    kind : type or str
        The class, or its full name, ``"package.module.Class"``, where it need not be
        imported. Subclasses are of its kind too.
    parameters : mapping of str to Axes, or callable
        By the names of the parameters in the module; those that a module does not have
        are passed over, and those not named act entry by entry. Or what returns such a
        mapping for a module, where it depends on its options.
    channels : callable, optional
        Returns, for a module, the `Channels` of its output (of its first output, where
        it returns several), which the feature encoding then permutes. None: what it
        returns stays in order.
    sample_axis : int
        Which axis of what it takes and returns holds the samples.

    Raises
    ------
    TypeError
        If `kind` is neither a class of modules nor a name.

    Notes
    -----
    Per-sample vectors come from `torch.func`: the module is called again for its
    samples, three to five times slower than the fast paths of Linear and Conv2d.

    Examples
    --------
    >>> import torch, rgo_torch
    >>> class Mix(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.matrix = torch.nn.Parameter(torch.eye(3))
    ...     def forward(self, x):
    ...         return x @ self.matrix
    >>> rgo_torch.register_layout(
    ...     Mix,
    ...     {"matrix": rgo_torch.Axes(inputs=(0,), outputs=(1,))},
    ...     channels=lambda module: rgo_torch.Channels(3),
    ... )
    """
    if not isinstance(kind, str) and not (
        isinstance(kind, type) and issubclass(kind, nn.Module)
    ):
        raise TypeError(
            f"kind must be a class of nn.Module, or the full name of one, got {kind!r}"
        )
    axes = parameters if callable(parameters) else _constant(parameters)
    KINDS[kind] = Kind(axes, channels, sample_axis)


def find_kind(module: nn.Module) -> tuple[type[nn.Module], Kind] | None:
    """Return the nearest class of a module that the table has, and its kind."""
    for known in type(module).__mro__:
        for key in (known, f"{known.__module__}.{known.__qualname__}"):
            if key in KINDS:
                return known, KINDS[key]
    if _holds_experts(module):
        return type(module), Kind(_experts_axes)
    return None


def _constant(parameters: Mapping[str, Axes]) -> FindAxes:
    given = dict(parameters)
    return lambda module: given


def _transposed_axes(module: nn.Module) -> dict[str, Axes]:
    """Return the axes of a transposed convolution (c, m / g, *kernel)."""
    weight, groups = module.get_parameter("weight"), int(module.groups)  # type: ignore[arg-type]
    inputs, outputs, *kernel = weight.shape
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


def _linear(name: str, module: nn.Module, known: type[nn.Module]) -> Layer:
    axes = KINDS.get(known) or KINDS[f"{known.__module__}.{known.__qualname__}"]
    return LinearLayer(name, module, axes.axes(module), known)


def _convolution(name: str, module: Any, known: type[nn.Module]) -> Layer:
    return ConvolutionLayer(name, module)


def _embedding(name: str, module: Any, known: type[nn.Module]) -> Layer:
    return EmbeddingLayer(name, module)


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
# Where a mixture keeps its experts in one tensor (e, m, n) or (e, n, m).
EXPERTS = ("gate_up_proj", "gate_proj", "up_proj", "down_proj")


def _experts_axes(module: nn.Module) -> dict[str, Axes]:
    """Return the axes of experts, each a group; biases (e, m) are vectors of theirs.

    What comes out of ``up`` goes into ``down``: that tells inputs from outputs.
    """
    own = dict(module.named_parameters(recurse=False))
    down = own["down_proj"].shape
    up = next(own[name].shape for name in EXPERTS if name in own)
    outputs_first = up[2] == down[1] and up[1] in (down[2], 2 * down[2])
    weight = (
        Axes(groups=(0,), outputs=(1,), inputs=(2,))
        if outputs_first
        else Axes(groups=(0,), outputs=(2,), inputs=(1,))
    )
    bias = Axes(groups=(0,), inputs=(1,))
    return {
        name: weight if p.ndim == 3 else bias
        for name, p in own.items()
        if name.removesuffix("_bias") in EXPERTS
    }


def _holds_experts(module: nn.Module) -> bool:
    down = module._parameters.get("down_proj")
    others = (module._parameters.get(name) for name in EXPERTS[:-1])
    return down is not None and down.ndim == 3 and any(p is not None for p in others)


KNOWN: dict[type[nn.Module] | str, Kind] = {
    nn.Linear: Kind(_constant(LINEAR), _last_axis("out_features"), layer=_linear),
    nn.Bilinear: Kind(
        _constant(
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
        _constant({"weight": EMBEDDING}),
        _last_axis("embedding_dim"),
        layer=_embedding,
    ),
    nn.EmbeddingBag: Kind(
        _constant({"weight": EMBEDDING}), _last_axis("embedding_dim")
    ),
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
        _constant(DENSE_OUTPUTS_LAST), _last_axis("nf"), layer=_linear
    ),
}
KINDS.update(KNOWN)
