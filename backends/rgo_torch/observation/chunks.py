"""Batches in parts, so that the curvature pass needs no more memory than training."""

from collections.abc import Iterator, Mapping, MutableMapping
from copy import copy
from typing import Any, final

import torch
from torch import Tensor, nn

from rgo_core._checks import check_integer
from rgo_core.vectors import Per
from rgo_torch.modules.hooks import ModuleHook, remove_all
from rgo_torch.modules.trees import leaves_of
from rgo_torch.modules.wrappers import original_model
from rgo_torch.observation.score import Score


@final
class SampleScore:
    """A score that looks at each sample alone, whatever else is in its batch.

    That of cross-entropy does; one of contrasts within a batch does not.

    Parameters
    ----------
    function : callable
        ``function(model, batch)``, see `rgo_torch.second_moments`.
    """

    def __init__(self, function: Score) -> None:
        self._function = function

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the scores of a batch."""
        return self._function(model, batch)


def check_chunk_size(size: Any, per: Per | None) -> None:
    """Raise unless batches may come in parts of so many samples.

    Raises
    ------
    ValueError
        If `size` is neither None nor an integer of at least 1, or each vector is one of
        a whole batch.
    """
    if size is None:
        return
    check_integer("chunk_size", size, 1)
    if per == "batch":
        raise ValueError(
            "chunk_size must be None for per='batch', whose vectors are of whole "
            f"batches, got {size}"
        )


def parts(batch: Any, size: int | None) -> Iterator[Any]:
    """Yield a batch in parts of at most `size` samples.

    Whole where `size` is None, or it is none of tensors alone that are all as long.
    """
    count = length(batch)
    if size is None or count is None or count <= size:
        yield batch
        return
    for start in range(0, count, size):
        yield _part(batch, slice(start, start + size))


@final
class TrainingBatch:
    """Notes how many samples a model was trained with at once.

    Parameters
    ----------
    model : nn.Module
        Of which a compiled one cannot be watched.
    """

    def __init__(self, model: nn.Module) -> None:
        inner = original_model(model)
        self._note = _Note()
        self.handles = [inner.register_forward_pre_hook(self._note, with_kwargs=True)]

    @property
    def samples(self) -> int | None:
        """The most in one forward pass of training; None before the first."""
        return self._note.samples

    def detach(self) -> None:
        """Look no more."""
        remove_all(self.handles)


class _Note(ModuleHook):
    def __init__(self) -> None:
        self.samples: int | None = None

    def __call__(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if torch.compiler.is_compiling() or not module.training:
            return
        for leaf in leaves_of((args, kwargs)):
            if isinstance(leaf, Tensor) and leaf.ndim:
                self.samples = max(self.samples or 0, leaf.size(0))
                return


def length(batch: Any) -> int | None:
    """Return how many samples all tensors of a batch have; None if that is unclear."""
    if isinstance(batch, Mapping):
        entries = list(batch.values())
    else:
        entries = list(batch) if isinstance(batch, tuple | list) else [batch]
    tensors = [entry for entry in entries if isinstance(entry, Tensor)]
    others = [entry for entry in entries if not isinstance(entry, Tensor)]
    if not all(
        entry is None or isinstance(entry, bool | int | float) for entry in others
    ):
        return None
    # Not `shape`, which a nested tensor that is not jagged has none of.
    lengths = {tensor.size(0) if tensor.ndim else None for tensor in tensors}
    return lengths.pop() if len(lengths) == 1 else None


def _part(batch: Any, of: slice) -> Any:
    """Return a part of a batch, as one of its kind: a score may name its attributes."""
    if isinstance(batch, Mapping):
        cut = {key: _cut(entry, of) for key, entry in batch.items()}
        if not isinstance(batch, MutableMapping):
            return cut
        part = copy(batch)
        for key, entry in cut.items():
            part[key] = entry
        return part
    if isinstance(batch, tuple | list):
        entries = [_cut(entry, of) for entry in batch]
        if hasattr(batch, "_fields"):
            return type(batch)(*entries)
        return tuple(entries) if isinstance(batch, tuple) else entries
    return _cut(batch, of)


def _cut(entry: Any, of: slice) -> Any:
    if not isinstance(entry, Tensor):
        return entry
    if entry.is_nested:  # it has no slices
        sequences = list(entry.unbind())[of]
        return torch.nested.as_nested_tensor(sequences, layout=entry.layout)
    return entry[of]
