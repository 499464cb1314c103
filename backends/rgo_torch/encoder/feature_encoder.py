"""The encoder: every layer of a model sees the channels of a task in its own order."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from rgo_core._checks import check_integer
from rgo_torch.adapters.lora import check_starts_at_zero, find_adapters
from rgo_torch.encoding.feature_encoding import FeatureEncoding
from rgo_torch.encoding.hooks import (
    CELLS,
    RECURRENT,
    Encode,
    EncodeAttended,
    EncodeInput,
    EncodeOutput,
)
from rgo_torch.encoding.recurrence import OwnWeights, recurrent_hooks
from rgo_torch.layers.head import last_layers
from rgo_torch.layers.layer import Layer
from rgo_torch.layers.places import (
    At,
    FoundPlace,
    Place,
    excluded_names,
    named_places,
    output_places,
    renamed,
)
from rgo_torch.layers.skipped import Overrides
from rgo_torch.layout import find_layout
from rgo_torch.mesh.across import Across
from rgo_torch.mesh.gathered import mesh_of
from rgo_torch.modules.claims import check_free, claim, release
from rgo_torch.modules.hooks import ModuleHook, Uncopied, remove_all, remove_copied
from rgo_torch.modules.looking import Looks
from rgo_torch.modules.wrappers import is_compiled, named_modules
from rgo_torch.observation.shared import Groups, shared_layers


class FeatureEncoder(Uncopied):
    """Gives every layer of a model the permutation of the current task.

    Attaches a forward hook to each layer whose kind has channels (Linear, convolutions,
    attention, embeddings, recurrent layers, those of `register_layout` and those whose
    source says so), and to each Flatten between convolutions and a Linear where the
    three stand in one Sequential. Model and state dict stay as they are. A model with
    `FeatureEncoding` modules marks the places itself, and gets no hooks. In a model
    with adapters (PEFT's LoRA) only the inputs of the adapters and of the new heads are
    permuted.

    Parameters
    ----------
    model : nn.Module
    seed : int
        Draws the permutations, with the task and the layer's name and width: the same
        on every machine and backend.
    unencoded : iterable of str, optional
        Names of the modules whose outputs stay as they are. The last layer of the model
        where None, unless a matrix of one's own comes after it. Name every head where
        there are several, and shortcuts: what is added must be in the same order.
    layout : mapping of str to Axes or None, optional
        See `find_layout`.
    places : iterable of str or Place, optional
        Where to encode, in place of all that: names of modules whose inputs are
        permuted, or a `Place`.
    shared_inputs : iterable of iterable of str, optional
        Layers with LoRA that take in the same features, by groups of names; one
        permutation serves them, see `RGO`.
    exclude
        The old name of `unencoded`, with a warning; gone in the next release.

    Raises
    ------
    ValueError
        If a name in `unencoded` is not that of a module that would be encoded or of the
        last layer, `unencoded` or `places` are given for a model with `FeatureEncoding`
        modules, another encoder has one of these, a place is none, its adapters did not
        start at zero, or `seed` is not an integer of at least 0.

    Notes
    -----
    Element-wise activations, per-channel normalisation without parameters and pooling
    commute with a permutation of channels, so that the hook on the layer itself serves.
    A deep copy of the model follows this encoder too, except for `FeatureEncoding`
    modules in it: the copy's keep the task that was current when it was made.

    References
    ----------
    Liu and Liu (2022), section 4.

    Examples
    --------
    >>> import torch, rgo_torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    >>> encoder = rgo_torch.FeatureEncoder(model, seed=0)
    >>> encoder.set_task(1)
    >>> encoder.widths
    {'0': 4}
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        seed: int = 0,
        unencoded: Iterable[str] | None = None,
        layout: Overrides | None = None,
        places: Iterable[str | Place] | None = None,
        shared_inputs: Groups | None = None,
        exclude: Iterable[str] | None = None,
    ) -> None:
        unencoded = renamed(unencoded, exclude)
        own = {
            name: module
            for name, module in named_modules(model)
            if isinstance(module, FeatureEncoding)
        }
        for option, given in (("unencoded", unencoded), ("places", places)):
            if own and given is not None:
                raise ValueError(
                    f"{option} must be None for a model that says itself where to "
                    f"encode; it has the FeatureEncoding modules {list(own)}"
                )
        for name, module in own.items():
            check_free(name, module)
        layers = find_layout(model, layout).layers
        found, last = _found_places(model, layers, places)
        # By whose name the permutation of a place is drawn, where not by its own.
        self.shared = shared_layers(model, layers, shared_inputs)
        excluded = excluded_names(found, last if unencoded is None else unencoded)
        check_integer("seed", seed, 0)
        remove_copied(model, Encode)
        self.seed = int(seed)
        self.task_index = 0
        # Where each encoding is that hooks apply, by the module's name.
        self.places: dict[str, At] = {}
        self.handles: list[Any] = []
        self._encodings = own
        self._looks = Looks[int]()
        if not own:
            for place in found:
                if place.name not in excluded:
                    self._attach(place)
            if is_compiled(model):
                # Code that is compiled already does not look for new hooks.
                torch.compiler.reset()
        self._reach_across(mesh_of(model))
        claim(self, own.values())

    @property
    def encodings(self) -> Mapping[str, FeatureEncoding]:
        """What permutes, by the name of the layer, the Flatten or the module."""
        return MappingProxyType(self._encodings)

    @property
    def widths(self) -> dict[str, int]:
        """How many channels are permuted, by the name of the layer or the Flatten."""
        return {name: encoding.width for name, encoding in self._encodings.items()}

    def set_task(self, task: int) -> None:
        """Encode for `task`, counted from 0, from the next forward pass on.

        Raises
        ------
        ValueError
            If `task` is not an integer of at least 0.
        """
        check_integer("task", task, 0)
        for name, encoding in self._encodings.items():
            encoding.set_permutation(task, name=name, seed=self.seed)
        self.task_index = int(task)

    def task(self, task: int) -> AbstractContextManager[None]:
        """Encode for `task` inside the context."""
        return self._looks.at(task, lambda: self.task_index, self.set_task)

    def detach(self) -> None:
        """Remove every hook; `FeatureEncoding` modules go back to the identity.

        A deep copy of the model that has hooks keeps its encoding.
        """
        release(self)
        self._looks.close(self.set_task)
        if not self.places:
            self.set_task(0)
        self._reach_across(None)
        remove_all(self.handles)

    def _reach_across(self, mesh: Any) -> None:
        for encoding in self._encodings.values():
            encoding.across = None if mesh is None else Across(mesh, encoding.width)

    def _attach(self, place: FoundPlace) -> None:
        encoding, module = self._encoding(place.name, place), place.module
        if place.at == "input":
            self._add(module, EncodeInput(encoding))
            return
        if not (place.is_whole and isinstance(module, CELLS)):
            self._add(module, EncodeOutput(encoding, is_sure=not place.is_read))
        if not place.is_whole:
            return
        if isinstance(module, nn.MultiheadAttention):
            self._add(module, EncodeAttended(encoding))
        elif isinstance(module, RECURRENT):
            make = partial(self._part, place)
            self._add(module, *recurrent_hooks(module, encoding, make))
            self.handles.append(OwnWeights(module))

    def _encoding(self, name: str, place: FoundPlace) -> FeatureEncoding:
        width, axis = place.channels
        encoding = FeatureEncoding(width, axis, name=self.shared.get(name))
        encoding.to(place.device)
        self._encodings[name] = encoding
        self.places[name] = place.at
        return encoding

    def _part(self, place: FoundPlace, own: str, width: int) -> FeatureEncoding:
        """Return the encoding of what is inside of a module."""
        inside = place._replace(channels=place.channels._replace(width=width))
        return self._encoding(f"{place.name}.{own}", inside)

    def _add(self, module: nn.Module, *hooks: ModuleHook) -> None:
        for hook in hooks:
            call: Any = hook
            add: Any = module.register_forward_hook
            how = {"always_call": hook.is_always_called}
            if hook.is_before:
                add, how = module.register_forward_pre_hook, {"with_kwargs": True}
            self.handles.append(add(call, **how))


def _found_places(
    model: nn.Module,
    layers: Sequence[Layer],
    places: Iterable[str | Place] | None,
) -> tuple[list[FoundPlace], list[str]]:
    """Return where to encode, and the names that are left out by default."""
    if places is not None:
        return named_places(model, layers, places), []
    adapters = find_adapters(model)
    if adapters is not None:
        check_starts_at_zero(model)
        return adapters.places(model, layers), []
    return output_places(model, layers), last_layers(layers)
