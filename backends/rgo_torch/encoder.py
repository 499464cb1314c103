"""The feature encoding layer: each task sees a layer's channels in its own order."""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

import rgo_core
from rgo_torch.layers.layer import Layer
from rgo_torch.layout import Overrides, find_layout
from rgo_torch.wrappers import is_compiled, named_modules


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

    def __init__(self, width: int, axis: int = -1) -> None:
        super().__init__()
        self.width, self.axis = width, axis
        self.is_identity = True
        # What autograd keeps until the backward pass: never written to, as buffers are.
        self._kept = (torch.arange(width), torch.arange(width))
        for name in ("permutation", "inverse"):
            self.register_buffer(name, torch.arange(width), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return ``features[..., permutation, ...]``."""
        if features.shape[self.axis] != self.width:
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
        """Take the permutation of a task, in place: a compiled model sees it too."""
        drawn = rgo_core.task_permutation(self.width, task=task, name=name, seed=seed)
        with torch.inference_mode(False):  # autograd keeps no others
            permutation = torch.from_numpy(drawn)
            inverse = torch.from_numpy(rgo_core.invert(drawn))
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


CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class _Place(NamedTuple):
    """A module whose output has channels to permute."""

    name: str
    module: nn.Module
    width: int
    axis: int
    device: torch.device


class FeatureEncoder:
    """Gives every layer of a model the permutation of the current task.

    Attaches a forward hook to each Linear and Conv2d, and to each Flatten between
    convolutions and a Linear where the three stand in one Sequential, so that model and
    state dict stay as they are. A model that holds `FeatureEncoding` modules says
    itself where to encode, and gets no hooks.

    Parameters
    ----------
    model : nn.Module
    seed : int
        Draws the permutations, with the task and the layer's name and width: the same
        on every machine and backend.
    exclude : iterable of str, optional
        Names of the modules whose outputs stay as they are. The last layer of the model
        where None. Give every head of several, and the shortcuts of a residual network:
        what is added must be in one order.

    Raises
    ------
    ValueError
        If a name in `exclude` is not that of a module that would be encoded or of the
        last layer, `exclude` is given for a model with `FeatureEncoding` modules, or
        `seed` is not an integer of at least 0.

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
        exclude: Iterable[str] | None = None,
        layout: Overrides | None = None,
    ) -> None:
        own = {
            name: module
            for name, module in named_modules(model)
            if isinstance(module, FeatureEncoding)
        }
        if own and exclude is not None:
            raise ValueError(
                "exclude must be None for a model that says itself where to encode; "
                f"it has the FeatureEncoding modules {list(own)}"
            )
        layers = [x for x in find_layout(model, layout).layers if x.channels]
        places = [*map(_after_layer, layers), *_flattenings(model)]
        last = [layer.name for layer in layers[-1:]]
        excluded = _excluded(places, last if exclude is None else exclude)
        _check_count("seed", seed)
        self.seed = int(seed)
        self.task_index = 0
        self._handles: list[Any] = []
        self._encodings = own
        if not own:
            for place in places:
                if place.name not in excluded:
                    self._attach(place)
            if is_compiled(model):
                # Code that is compiled already does not look for new hooks.
                torch.compiler.reset()

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
        _check_count("task", task)
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
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _attach(self, place: _Place) -> None:
        encoding = FeatureEncoding(place.width, place.axis)
        encoding.to(place.device)

        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            return _encoded(encoding, output)

        self._encodings[place.name] = encoding
        self._handles.append(place.module.register_forward_hook(hook))


def _encoded(encoding: FeatureEncoding, output: Any) -> Any:
    """Permute what a module returned; of several things the first."""
    if isinstance(output, PackedSequence):
        return output._replace(data=encoding(output.data))
    if isinstance(output, tuple):
        return (_encoded(encoding, output[0]), *output[1:])
    return encoding(output)


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
        return features.index_select(axis, permutation)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        permutation, inverse = ctx.saved_tensors
        # Through itself, so that it can be differentiated again.
        return _permute(gradient, inverse, permutation, ctx.axis), None, None, None


class _PermuteTransformed(torch.autograd.Function):
    """The same for torch.func, in the form it asks for, which is slower to call."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        features: Tensor, permutation: Tensor, inverse: Tensor, axis: int
    ) -> Tensor:
        return features.index_select(axis, permutation)

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, int], output: Tensor
    ) -> None:
        _, permutation, inverse, ctx.axis = inputs
        ctx.save_for_backward(permutation, inverse)

    backward = _Permute.backward


def _permute(
    features: Tensor, permutation: Tensor, inverse: Tensor, axis: int
) -> Tensor:
    function: Any = _Permute
    if torch._C._are_functorch_transforms_active():
        function = _PermuteTransformed
    permuted: Tensor = function.apply(features, permutation, inverse, axis)
    return permuted


def _check_count(name: str, value: Any) -> None:
    if not isinstance(value, Integral) or value < 0:
        raise ValueError(f"{name} must be an integer >= 0, got {value!r}")


def _after_layer(layer: Layer) -> _Place:
    assert layer.channels is not None  # those without were left out
    width, axis = layer.channels
    device = next(layer.module.parameters()).device
    return _Place(layer.name, layer.module, width, axis, device)


def _flattenings(model: nn.Module) -> Iterator[_Place]:
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
                full = f"{name}.{own}" if name else own
                device = following.weight.device
                yield _Place(full, module, following.in_features, -1, device)


def _excluded(places: list[_Place], exclude: Iterable[str]) -> set[str]:
    names = [place.name for place in places]
    if isinstance(exclude, str):
        raise ValueError(f"exclude must be names in a list, got the string {exclude!r}")
    excluded = set(exclude)
    unknown = sorted(excluded - set(names))
    if unknown:
        raise ValueError(f"exclude must name modules among {names}, got {unknown}")
    return excluded
