"""Parameters of encoded layers that a model reads without a call of the layer.

What a call takes in or gives out is permuted, what a model computes of the weight
itself is not. Autograd's graph shows such a use only where a gradient goes through it:
the codebook that features are compared with, `torch.cdist(z, book.weight).argmin(1)`,
has none there. So each function that is given such a parameter is looked at instead.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rgo_core._checks import few_names
from rgo_torch.encoding.hooks import is_called_and_read, is_encoded, note_read
from rgo_torch.modules.hooks import remove_all
from rgo_torch.modules.torch_private import own_parameters
from rgo_torch.modules.trees import leaves_of
from rgo_torch.modules.warning import warn_caller
from rgo_torch.modules.wrappers import full_name
from rgo_torch.observation.score import Score

_KIND: Any = Tensor
DATA = _KIND.data.__get__


class Held(NamedTuple):
    """A parameter of an encoded module, and the modules whose own it is, by name."""

    tensor: Tensor  # kept, so that no other gets its id
    holders: dict[str, nn.Module]
    names: set[str]


class Watched:
    """A score that notes, while it runs, what is read of encoded modules.

    Parameters
    ----------
    score : callable
    modules : mapping of str to nn.Module
        All of the model, by name.

    Attributes
    ----------
    read : dict of str to set of str
        The encoded modules that were read, with all names of what was.
    """

    def __init__(self, score: Score, modules: Mapping[str, nn.Module]) -> None:
        self._score, self._modules = score, modules
        self.read: dict[str, set[str]] = {}

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the scores."""
        held = _held(self._modules)
        if not held:
            return self._score(model, batch)
        every = {module for each in held.values() for module in each.holders.values()}
        with _depths(every) as depths:

            def note(each: Held) -> None:
                # One that is tied is used by a call of any that hold it.
                if not any(depths[module] for module in each.holders.values()):
                    self._note(each)

            with _Reading(held, note):
                return self._score(model, batch)

    def _note(self, held: Held) -> None:
        for name, module in held.holders.items():
            if is_encoded(module):
                note_read(module)
                self.read.setdefault(name, set()).update(held.names)


def warn_of_read(
    read: Mapping[str, Collection[str]],
    modules: Mapping[str, nn.Module],
    told: Collection[str],
) -> None:
    """Warn of encoded modules that are both called and read.

    Parameters
    ----------
    read : mapping of str to collection of str
        As `Watched.read`.
    modules : mapping of str to nn.Module
    told : collection of str
        The parameters that another warning names.
    """
    both = [
        name
        for name, own in read.items()
        if is_called_and_read(modules[name]) and not set(told) & set(own)
    ]
    if both:
        warn_caller(
            f"{few_names(both)}: both called and read without a call: from the second "
            "task on the encoding permutes what a call takes in or gives out and not "
            "what is computed of the weight itself, as the distances to a codebook, so "
            f"that the two disagree; they agree with unencoded={both}, which takes the "
            "place of the default: name the head there too"
        )


def _held(modules: Mapping[str, nn.Module]) -> dict[int, Held]:
    """Return the parameters of encoded modules that are in place now, by their ids."""
    found: dict[int, Held] = {}
    for name, module in modules.items():
        for own, parameter in own_parameters(module).items():
            if parameter is not None:
                held = found.setdefault(id(parameter), Held(parameter, {}, set()))
                held.holders[name] = module
                held.names.add(full_name(name, own))
    return {
        key: held
        for key, held in found.items()
        if any(map(is_encoded, held.holders.values()))
    }


@contextmanager
def _depths(modules: Iterable[nn.Module]) -> Iterator[Counter[nn.Module]]:
    """Count how many calls of each module are going on."""
    depths: Counter[nn.Module] = Counter()

    def enter(module: nn.Module, *_: Any) -> None:
        depths[module] += 1

    def leave(module: nn.Module, *_: Any) -> None:
        depths[module] -= 1

    handles: list[Any] = []
    try:
        for module in modules:
            # What other hooks compute of a weight belongs to the call.
            handles.append(module.register_forward_pre_hook(enter, prepend=True))
            handles.append(module.register_forward_hook(leave, always_call=True))
        yield depths
    finally:
        remove_all(handles)


class _Reading(TorchFunctionMode):
    """Calls back for each parameter whose values a function of PyTorch makes use of."""

    def __init__(self, held: dict[int, Held], note: Callable[[Held], None]) -> None:
        super().__init__()
        self._held, self._note = held, note

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Return what the function does, which is called out of this mode."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        ids = {id(leaf) for leaf in leaves_of(_valued(func, args, kwargs))}
        for each in [self._held[key] for key in ids & self._held.keys()]:
            if func == DATA or getattr(func, "__name__", "") == "detach":
                # Old code makes what is like a weight by `weight.data.new`: see how it
                # goes on.
                self._held[id(result)] = each._replace(tensor=result)
            elif _has_values(result, self._held):
                self._note(each)
        return result


def _valued(func: Any, args: Any, kwargs: Any) -> Any:
    """Return the arguments of which a function takes more than dtype, device, shape."""
    name = getattr(func, "__name__", "")
    if name == "new" or name.startswith("new_") or name.endswith("_like"):
        return ()
    if name == "to" or name.endswith("_as"):
        return args[:1]
    return args, kwargs


def _has_values(result: Any, held: Collection[int]) -> bool:
    """Whether there are channels in a result, and not in what is looked at already.

    A single number, as a norm, is the same in every order; a parameter that comes back
    itself, as of `to` where nothing is to be done, was not used yet.
    """
    return any(
        isinstance(leaf, Tensor)
        and (leaf.is_floating_point() or leaf.is_complex())
        and leaf.ndim > 0
        and id(leaf) not in held
        for leaf in leaves_of(result)
    )
