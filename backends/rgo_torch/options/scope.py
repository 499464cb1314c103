"""What of a model RGO takes care of: all of it, its adapters, or what is named."""

from collections.abc import Iterable
from typing import NamedTuple

from torch import nn

from rgo_torch.adapters.lora import Adapters, find_adapters, frozen_parameters
from rgo_torch.layers.places import CONVOLUTIONS, TRANSPOSED, Place
from rgo_torch.layers.skipped import Overrides
from rgo_torch.layout import find_layout
from rgo_torch.options.left_out import left_out


class Scope(NamedTuple):
    """Where a model is encoded, and which of its parameters are left out."""

    adapters: Adapters | None
    encodes: bool
    places: Iterable[str | Place] | None  # None: all that RGO finds
    layout: Overrides | None
    convolves: bool  # whether a convolution is protected, and not beside a frozen model
    maps: bool  # whether it is fully convolutional, and gives out a map
    is_plain: bool  # whether it has Linear and convolutional layers alone

    @property
    def is_beside(self) -> bool:
        """Whether what is trained stands beside a model that is frozen."""
        return self.adapters is not None or self.places is not None


def find_scope(
    model: nn.Module,
    encode: bool | Iterable[str | Place],
    protect: Iterable[str | nn.Module] | None,
    layout: Overrides | None,
) -> Scope:
    """Return what three options of `RGO` and the adapters of the model say.

    Raises
    ------
    ValueError
        If the model has adapters that RGO does not know, or `protect` names no part of
        it.
    TypeError
        If `protect` is no list of names or modules.
    """
    places = None if isinstance(encode, bool) else encode
    if places is not None:
        layout = dict.fromkeys(frozen_parameters(model)) | dict(layout or {})
    if protect is not None:
        layout = left_out(model, protect) | dict(layout or {})
    adapters = find_adapters(model)
    layers = find_layout(model, layout).layers
    # Not what has inputs along several axes: a Bilinear has, and layers of one's own.
    convolves = any(isinstance(layer.module, CONVOLUTIONS) for layer in layers)
    convolves = convolves and adapters is None and places is None
    # Of all weights that have inputs and outputs: normalisations have none.
    weights = [each for each in layers if any(a.outputs for a in each.axes.values())]
    kinds = (*CONVOLUTIONS, *TRANSPOSED)
    maps = convolves and all(isinstance(each.module, kinds) for each in weights)
    is_plain = all(isinstance(each.module, (nn.Linear, *kinds)) for each in layers)
    return Scope(
        adapters, encode is not False, places, layout, convolves, maps, is_plain
    )
