"""Where features are encoded: at what modules take in, or at what they give out."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import nn

from rgo_core.damping import warn_renamed
from rgo_torch.layers.layer import Channels, Layer
from rgo_torch.modules.wrappers import full_name, named_modules

At = Literal["input", "output"]

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class Place(NamedTuple):
    """A place of one's own choice where `RGO` is to encode.

    At the input of a module that starts at zero, or is new, an encoding breaks nothing
    that was pretrained: every other module's features stay as they are.

    Attributes
    ----------
    name : str
        The module's name in the model.
    at : {"input", "output"}
        Whether its first argument is permuted, or (the first of) what it returns.
    channels : Channels, optional
        How many channels that has and along which axis; what the layout knows of the
        module where None.

    Examples
    --------
    >>> import rgo_torch
    >>> rgo_torch.Place("block.adapter.down").at
    'input'
    """

    name: str
    at: At = "input"
    channels: Channels | None = None


class FoundPlace(NamedTuple):
    """A module of the model, with the channels to permute there."""

    name: str
    module: nn.Module
    at: At
    channels: Channels
    device: torch.device
    # Whether the states of a recurrent module, and what attention takes in, too.
    is_whole: bool = False
    # Whether its source alone says what channels there are: it may return others.
    is_read: bool = False


def output_places(model: nn.Module, layers: Iterable[Layer]) -> list[FoundPlace]:
    """Return what is encoded where nothing else is said: what layers give out."""
    found = (found_place(x, "output") for x in layers if x.channels)
    after = [place._replace(is_whole=True) for place in found]
    return [*after, *_flattenings(model)]


def found_place(layer: Layer, at: At) -> FoundPlace:
    """Return a place at a layer whose channels there are known."""
    channels = layer.channels if at == "output" else layer.takes
    assert channels is not None  # those without were left out
    device = next(layer.module.parameters()).device
    is_read = layer.reads_channels
    return FoundPlace(layer.name, layer.module, at, channels, device, is_read=is_read)


def named_places(
    model: nn.Module, layers: Sequence[Layer], places: Iterable[str | Place]
) -> list[FoundPlace]:
    """Return the places that a user names; a name alone is a place at an input.

    Raises
    ------
    TypeError
        If one is neither a name nor a Place.
    ValueError
        If there is no module of that name, it is named twice, or its channels there are
        neither given nor known.
    """
    modules = dict(named_modules(model))
    known = {layer.name: layer for layer in layers}
    found: dict[str, FoundPlace] = {}
    for place in _as_places(places):
        if place.name not in modules:
            raise ValueError(
                f"places must name modules of the model, got {place.name!r}"
            )
        if place.name in found:
            raise ValueError(
                f"places must name a module once, got {place.name!r} twice"
            )
        if place.at not in ("input", "output"):
            raise ValueError(f"at must be 'input' or 'output', got {place.at!r}")
        found[place.name] = _located(place, modules[place.name], known.get(place.name))
    return list(found.values())


def renamed(
    unencoded: Iterable[str] | None, exclude: Iterable[str] | None
) -> Iterable[str] | None:
    """Return what either name of one option was given.

    Raises
    ------
    TypeError
        If both were.

    Warns
    -----
    DeprecationWarning
        If it was the old name, `exclude`.
    """
    if exclude is None:
        return unencoded
    if unencoded is not None:
        raise TypeError("exclude is the old name of unencoded: give the new one alone")
    warn_renamed("exclude", "unencoded", stacklevel=2)
    return exclude


def excluded_names(places: Sequence[FoundPlace], unencoded: Iterable[str]) -> set[str]:
    """Return the names in `unencoded`, checked.

    Raises
    ------
    ValueError
        If it is a string, or has a name that is no place's.
    """
    names = [place.name for place in places]
    if isinstance(unencoded, str):
        raise ValueError(
            f"unencoded must be names in a list, got the string {unencoded!r}"
        )
    excluded = set(unencoded)
    unknown = sorted(excluded - set(names))
    if unknown:
        raise ValueError(f"unencoded must name modules among {names}, got {unknown}")
    return excluded


def _as_places(places: Iterable[str | Place]) -> Iterator[Place]:
    if isinstance(places, str | Place):
        raise TypeError(f"places must be a list of names or Place, got {places!r}")
    for place in places:
        if not isinstance(place, str | Place):
            raise TypeError(f"places must be names or Place, got {place!r}")
        yield Place(place) if isinstance(place, str) else place


def _located(place: Place, module: nn.Module, layer: Layer | None) -> FoundPlace:
    channels = place.channels
    if channels is None and layer is not None:
        channels = layer.channels if place.at == "output" else layer.takes
    if channels is None:
        raise ValueError(
            f"the channels at the {place.at} of {place.name!r} "
            f"({type(module).__name__}) are not known; give Place(..., "
            "channels=rgo_torch.Channels(width, axis))"
        )
    parameters = module.parameters()
    device = next((p.device for p in parameters), torch.device("cpu"))
    return FoundPlace(place.name, module, place.at, channels, device)


def _flattenings(model: nn.Module) -> Iterator[FoundPlace]:
    """Yield the flattened features of convolutions that a Linear takes."""
    for name, container in named_modules(model):
        if not isinstance(container, nn.Sequential):
            continue
        convolved = False
        children = list(container.named_children())
        for (own, module), (_, following) in itertools.pairwise(children):
            convolved |= any(isinstance(m, CONVOLUTIONS) for m in module.modules())
            is_flat = isinstance(module, nn.Flatten) and module.end_dim == -1
            if convolved and is_flat and isinstance(following, nn.Linear):
                full = full_name(name, own)
                channels = Channels(following.in_features)
                device = next(following.parameters()).device
                yield FoundPlace(full, module, "output", channels, device)
