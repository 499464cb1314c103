"""The hooks that permute what modules take in and give out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rgo_torch.encoding.feature_encoding import FeatureEncoding, encoded
from rgo_torch.modules.hooks import ModuleHook
from rgo_torch.modules.torch_private import forward_hooks

CELLS = (nn.RNNCell, nn.GRUCell, nn.LSTMCell)
RECURRENT = (nn.RNN, nn.GRU, nn.LSTM, *CELLS)


class Encode(ModuleHook):
    """Permutes by one encoding, unless `unencoded`.

    Attributes
    ----------
    encoding : FeatureEncoding
    has_run : bool
        Whether it permuted anything yet, be it by the first task's identity. Not in
        compiled code; a curvature pass compiles nothing.
    is_read : bool
        Whether a curvature pass saw the module's weight, or another parameter of its
        own, used without a call of the module: one of this process, or of that whose
        state was loaded.
    """

    is_paused = False
    has_run = False
    is_read = False

    def __init__(self, encoding: FeatureEncoding) -> None:
        self.encoding = encoding

    def _starts(self) -> bool:
        """Tell whether it is to permute, and note that it does."""
        if self.is_paused:
            return False
        # In compiled code it would be a side effect, which may break the graph.
        if not torch.compiler.is_compiling():
            self.has_run = True
        return True


class EncodeInput(Encode):
    """Permutes the first argument, before the forward."""

    is_before = True

    def __call__(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        """Return the arguments, the first one permuted."""
        if not self._starts():
            return None
        if args:
            return (encoded(self.encoding, args[0]), *args[1:]), kwargs
        first, *_ = kwargs
        return args, kwargs | {first: encoded(self.encoding, kwargs[first])}


class EncodeOutput(Encode):
    """Permutes what is returned; of several things the first.

    Parameters
    ----------
    encoding : FeatureEncoding
    is_sure : bool
        Whether another number of channels is an error; it stays in order otherwise.
    """

    def __init__(self, encoding: FeatureEncoding, *, is_sure: bool) -> None:
        super().__init__(encoding)
        self.is_sure = is_sure

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        """Return the output permuted."""
        if not (self.is_sure or self._fits(output)) or not self._starts():
            return None
        return encoded(self.encoding, output)

    def _fits(self, output: Any) -> bool:
        if isinstance(output, tuple | list) and output:
            return self._fits(output[0])
        return isinstance(output, Tensor) and self.encoding.takes(output)


class EncodeAttended(Encode):
    """Permutes query, key and value of attention alike, where they are as wide."""

    is_before = True

    def __call__(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        """Return the arguments, the sequences among them permuted."""
        if not self._starts():
            return None
        names = ("query", "key", "value")
        given = dict(zip(names, args, strict=False)) | kwargs
        found: dict[str, Any] = {}
        for name in names:
            # One tensor stays one: attention looks whether it is attending to itself.
            same = (n for n in found if given[n] is given[name])
            known = next(same, None)
            found[name] = self._permuted(given[name]) if known is None else found[known]
        sequences = tuple(found[name] for name in names[: len(args)])
        rest = {name: found[name] for name in names if name in kwargs}
        return (*sequences, *args[len(names) :]), kwargs | rest

    def _permuted(self, sequence: Tensor) -> Tensor:
        wide = sequence.size(-1) == self.encoding.width  # of nested ones too
        return self.encoding.forward(sequence) if wide else sequence


class EncodeStates(Encode):
    """Permutes the states that a recurrent module returns, with or without outputs."""

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        """Return the output with its states permuted."""
        if not self._starts():
            return None
        permute = self.encoding.forward
        if isinstance(module, CELLS):
            return _states(output, self.encoding.width, permute)
        return output[0], _states(output[1], self.encoding.width, permute)


class DecodeStates(Encode):
    """Puts states that a recurrent module is given back into its own order."""

    is_before = True

    def __call__(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        """Return the arguments, its states in order."""
        if not self._starts():
            return None
        width, back = self.encoding.width, self.encoding.undone
        if len(args) > 1:
            return (args[0], _states(args[1], width, back), *args[2:]), kwargs
        if "hx" in kwargs:
            kwargs = kwargs | {"hx": _states(kwargs["hx"], width, back)}
        return args, kwargs


def _states(states: Any, width: int, permute: Callable[[Tensor], Tensor]) -> Any:
    """Permute h, or h and c; one of another width, as of a projected LSTM, is left."""
    if isinstance(states, tuple | list):
        return tuple(_states(state, width, permute) for state in states)
    if not isinstance(states, Tensor) or states.shape[-1] != width:
        return states
    return permute(states)


def is_encoded(module: nn.Module) -> bool:
    """Tell whether what a module itself takes in or gives out is permuted."""
    return bool(_encoding(module))


def note_read(module: nn.Module, *, is_called: bool = False) -> None:
    """Note that a module's own parameters are used without a call of it, or by both."""
    for hook in _encoding(module):
        hook.is_read = True
        hook.has_run |= is_called


def is_uncalled(module: nn.Module) -> bool:
    """Tell whether a module's parameters are used, and never by a call of it.

    Its encoding permutes nothing then. As far as a curvature pass saw it.
    """
    return _is_read(module) and not _has_run(module)


def is_called_and_read(module: nn.Module) -> bool:
    """Tell whether a module is encoded in its calls, and its parameters used without.

    As far as a curvature pass saw it.
    """
    return _is_read(module) and _has_run(module)


def _is_read(module: nn.Module) -> bool:
    return any(hook.is_read for hook in _encoding(module))


def _has_run(module: nn.Module) -> bool:
    return any(hook.has_run for hook in _encoding(module))


def _encoding(module: nn.Module) -> list[Encode]:
    every = (hook for hooks in forward_hooks(module) for hook in hooks.values())
    return [hook for hook in every if isinstance(hook, Encode)]


@contextmanager
def unencoded(module: nn.Module) -> Iterator[None]:
    """Leave what a module itself takes in and gives out as it is.

    Its parts stay encoded. For what calls it again with what was recorded between its
    encodings.
    """
    found = _encoding(module)
    for hook in found:
        hook.is_paused = True
    try:
        yield
    finally:
        for hook in found:
            hook.is_paused = False
