"""The feature encoding layer: each task sees a layer's channels in its own order."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

import rgo_core
from rgo_core._checks import check_integer
from rgo_torch.adapters import check_starts_at_zero, find_adapters
from rgo_torch.hooks import ModuleHook, Uncopied, remove_copied
from rgo_torch.layers.layer import Layer
from rgo_torch.layout import Overrides, find_layout
from rgo_torch.places import (
    At,
    FoundPlace,
    Place,
    excluded_names,
    named_places,
    output_places,
    renamed,
)
from rgo_torch.shared import Groups, shared_layers
from rgo_torch.wrappers import is_compiled, is_transformed, named_modules

# Entries up to which PyTorch's own gather, and its sum back, is faster on the CPU.
SMALL = 2**15


class FeatureEncoding(nn.Module):
    """A parameter-free layer that permutes the channels of what passes through.

    Put it where no hook of `FeatureEncoder` can: after a call of torch.flatten, say. A
    `FeatureEncoder` of the model drives it. Until then, and in the first task, it is
    the identity. Its permutation is not part of the state dict.

    Parameters
    ----------
    width : int
        How many channels.
    axis : int
        Where they are.
    name : str, optional
        What the permutations are drawn by, in place of the module's name: encodings of
        one name and width share one permutation a task.

    Raises
    ------
    ValueError
        If `width` is not an integer of at least 1, or what passes through has not so
        many channels.

    References
    ----------
    Liu and Liu, "Continual Learning with Recursive Gradient Optimization", ICLR 2022,
    section 4.

    Examples
    --------
    >>> import torch, rgo_torch
    >>> rgo_torch.FeatureEncoding(3)(torch.arange(3.0))
    tensor([0., 1., 2.])
    """

    permutation: Tensor
    inverse: Tensor

    def __init__(self, width: int, axis: int = -1, *, name: str | None = None) -> None:
        super().__init__()
        check_integer("width", width, 1)
        self.width, self.axis, self.name = width, axis, name
        self.is_identity = True
        # What autograd keeps until the backward pass: never written to, as buffers are.
        self._kept = (torch.arange(width), torch.arange(width))
        for name in ("permutation", "inverse"):
            self.register_buffer(name, torch.arange(width), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return ``features[..., permutation, ...]``."""
        if features.is_nested:  # TransformerEncoder makes one of what is padded
            parts = [self(part) for part in features.unbind()]
            return torch.nested.as_nested_tensor(parts, layout=features.layout)
        inside = -features.ndim <= self.axis < features.ndim
        if not inside or features.shape[self.axis] != self.width:
            raise ValueError(
                f"expected {self.width} channels along axis {self.axis}, "
                f"got shape {tuple(features.shape)}"
            )
        if self.is_identity:
            return features
        # What a hook holds does not move with the model.
        if torch.compiler.is_compiling():
            permutation = self.permutation.to(features.device)
            inverse = self.inverse.to(features.device)
        else:
            permutation, inverse = self._kept_on(features.device)
        return _permute(features, permutation, inverse, self.axis)

    def set_permutation(self, task: int, *, name: str, seed: int) -> None:
        """Take the permutation of a task, in place: a compiled model sees it too.

        Its own name, where it has one, stands in for `name`.
        """
        name = name if self.name is None else self.name
        drawn = rgo_core.task_permutation(self.width, task=task, name=name, seed=seed)
        with torch.inference_mode(False):  # autograd keeps no others
            permutation = torch.from_numpy(drawn)
            inverse = torch.from_numpy(rgo_core.inverse_permutation(drawn))
        self._kept = permutation, inverse
        self.permutation.copy_(permutation)
        self.inverse.copy_(inverse)
        self.is_identity = task == 0

    def _kept_on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        permutation, inverse = self._kept
        if permutation.device != device:
            with torch.inference_mode(False):
                self._kept = permutation.to(device), inverse.to(device)
        return self._kept

    def extra_repr(self) -> str:
        """Show width and axis."""
        return f"{self.width}, axis={self.axis}"


class FeatureEncoder(Uncopied):
    """Gives every layer of a model the permutation of the current task.

    Attaches a forward hook to each Linear and Conv2d, and to each Flatten between
    convolutions and a Linear where the three stand in one Sequential, so that model and
    state dict stay as they are. A model that holds `FeatureEncoding` modules says
    itself where to encode, and gets no hooks. In a model with adapters (PEFT's LoRA)
    what they and the new heads take in is permuted instead, and nothing else.

    Parameters
    ----------
    model : nn.Module
    seed : int
        Draws the permutations, with the task and the layer's name and width: the same
        on every machine and backend.
    unencoded : iterable of str, optional
        Names of the modules whose outputs stay as they are. The last layer of the model
        where None. Give every head of several, and the shortcuts of a residual network:
        what is added must be in one order.
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
        modules, a place is none, its adapters did not start at zero, or `seed` is not
        an integer of at least 0.

    Notes
    -----
    Element-wise activations, per-channel normalisation without parameters and pooling
    commute with a permutation of channels, so that the hook on the layer itself serves.
    A deep copy of the model follows this encoder too, but for `FeatureEncoding` modules
    that it holds: those of the copy keep the task of the moment.

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
        if own and unencoded is not None:
            raise ValueError(
                "unencoded must be None for a model that says itself where to encode; "
                f"it has the FeatureEncoding modules {list(own)}"
            )
        if own and places is not None:
            raise ValueError(
                "places must be None for a model that says itself where to encode; "
                f"it has the FeatureEncoding modules {list(own)}"
            )
        layers = find_layout(model, layout).layers
        found, last = _found_places(model, layers, places)
        # By whose name the permutation of a place is drawn, where not by its own.
        self.shared = shared_layers(model, layers, shared_inputs)
        excluded = excluded_names(found, last if unencoded is None else unencoded)
        check_integer("seed", seed, 0)
        remove_copied(model, _Encode)
        self.seed = int(seed)
        self.task_index = 0
        # Where each encoding is that hooks apply, by the module's name.
        self.places: dict[str, At] = {}
        self.handles: list[Any] = []
        self._encodings = own
        if not own:
            for place in found:
                if place.name not in excluded:
                    self._attach(place)
            if is_compiled(model):
                # Code that is compiled already does not look for new hooks.
                torch.compiler.reset()

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

    @contextmanager
    def task(self, task: int) -> Iterator[None]:
        """Encode for `task` inside the context."""
        before = self.task_index
        self.set_task(task)
        try:
            yield
        finally:
            self.set_task(before)

    def detach(self) -> None:
        """Remove every hook; `FeatureEncoding` modules go back to the identity."""
        self.set_task(0)
        for handle in self.handles:
            handle.remove()
        self.handles.clear()

    def _attach(self, place: FoundPlace) -> None:
        width, axis = place.channels
        encoding = FeatureEncoding(width, axis, name=self.shared.get(place.name))
        encoding.to(place.device)
        self._encodings[place.name] = encoding
        self.places[place.name] = place.at
        self.handles.append(
            place.module.register_forward_pre_hook(
                _EncodeInput(encoding), with_kwargs=True
            )
            if place.at == "input"
            else place.module.register_forward_hook(_EncodeOutput(encoding))
        )


class _Encode(ModuleHook):
    def __init__(self, encoding: FeatureEncoding) -> None:
        self.encoding = encoding


class _EncodeInput(_Encode):
    def __call__(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        if args:
            return (_encoded(self.encoding, args[0]), *args[1:]), kwargs
        first, *_ = kwargs
        return args, kwargs | {first: _encoded(self.encoding, kwargs[first])}


class _EncodeOutput(_Encode):
    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        return _encoded(self.encoding, output)


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
    last = [layer.name for layer in layers if layer.channels][-1:]
    return output_places(model, layers), last


def _encoded(encoding: FeatureEncoding, output: Any) -> Any:
    """Permute what a module returned; of several things the first."""
    if isinstance(output, Tensor):
        return encoding.forward(output)  # it has no hooks
    if isinstance(output, PackedSequence):
        return output._replace(data=encoding(output.data))
    if isinstance(output, tuple | list) and output:
        parts = (_encoded(encoding, output[0]), *output[1:])
        # A named tuple is made by its own function.
        return getattr(output, "_make", type(output))(parts)
    if isinstance(output, Mapping) and output:
        found: Any = copy.copy(output)
        first = next(iter(output))
        found[first] = _encoded(encoding, output[first])
        return found
    raise TypeError(
        "expected a layer that is encoded to return a tensor, or tensors in a tuple, a "
        f"list or a dict, got a {type(output).__name__}; name it in unencoded="
    )


class _Permute(torch.autograd.Function):
    """Gather forward and gather back.

    Autograd alone would scatter-add, which is far slower for an image.
    """

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, permutation: Tensor, inverse: Tensor, axis: int
    ) -> Tensor:
        ctx.save_for_backward(permutation, inverse)
        ctx.axis = axis
        if axis in (-1, features.ndim - 1):
            # Of two axes PyTorch gathers the last one several times faster on the CPU.
            rows = features.reshape(-1, features.shape[-1])
            # No view: what follows may overwrite it.
            gathered = torch.empty_like(features, memory_format=torch.contiguous_format)
            torch.index_select(rows, 1, permutation, out=gathered.view(rows.shape))
            return gathered
        return features.index_select(axis, permutation)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        permutation, inverse = ctx.saved_tensors
        # Through itself, so that it can be differentiated again.
        return _permute(gradient, inverse, permutation, ctx.axis), None, None, None


def _permute(
    features: Tensor, permutation: Tensor, inverse: Tensor, axis: int
) -> Tensor:
    if is_transformed() or _is_small(features):
        return features.index_select(axis, permutation)
    permuted: Tensor = _Permute.apply(features, permutation, inverse, axis)  # type: ignore[no-untyped-call]
    return permuted


def _is_small(features: Tensor) -> bool:
    """Whether a function of one's own costs more than PyTorch's backward pass."""
    return (
        not torch.compiler.is_compiling()
        and features.device.type == "cpu"
        and features.numel() <= SMALL
    )
