"""Which layer gives out what the model does: the head, whose order must stay."""

from collections.abc import Iterator, Sequence

from rgo_torch.layers.layer import Layer
from rgo_torch.layers.multiplied import used_by_forward
from rgo_torch.layers.transformed import TransformedLayer


def last_layers(layers: Sequence[Layer]) -> list[str]:
    """Return the name of the last layer that can be encoded, where it is the head.

    It is not where a matrix comes after it that RGO does not encode: that of a later
    module, or of one that holds the layer, and whose code uses the matrix last; such a
    holder is the head itself, where RGO would encode it.

    Parameters
    ----------
    layers : sequence of Layer
        Of a model, in its order.
    """
    places = [place for place, layer in enumerate(layers) if layer.channels]
    if not places:
        return []
    last = layers[places[-1]]
    unknown = [layer for layer in layers if _has_matrices(layer)]
    holders = [layer for layer in unknown if _comes_last(layer, last.name)]
    if holders:
        return [layer.name for layer in holders if layer.channels]
    rest = layers[places[-1] :]
    is_followed = any(layer in rest for layer in unknown if not layer.channels)
    return [] if is_followed else [last.name]


def _has_matrices(layer: Layer) -> bool:
    """Whether it is of a class that RGO does not know, and has inputs and outputs."""
    unknown = type(layer) is TransformedLayer
    told = layer.channels is not None and not layer.reads_channels
    return unknown and not told and bool(list(_matrices(layer)))


def _matrices(layer: Layer) -> Iterator[str]:
    for own, axes in layer.axes.items():
        if axes.outputs and not axes.diagonal:
            yield own.split(".")[0]


def _comes_last(holder: Layer, part: str) -> bool:
    """Whether a matrix of `holder` is used after a part of it that has this name."""
    prefix = f"{holder.name}." if holder.name else ""
    if not part.startswith(prefix) or part == holder.name:
        return False
    child, *_ = part.removeprefix(prefix).split(".")
    named = used_by_forward(holder.module, {child, *_matrices(holder)})
    return child in named and named[-1] != child
