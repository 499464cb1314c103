"""Buffers: what training changes of them, and what a pass does and puts back."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from rgo_torch.modules.torch_private import stored_buffers
from rgo_torch.modules.warning import warn_caller
from rgo_torch.modules.wrappers import original_model

# Of the power iteration of spectral normalisation: what it says of the weight as it is.
ESTIMATED = ("_u", "_v")
# More integers than that are weights which a quantization has packed.
MOST_INTEGERS = 2**16


@contextmanager
def unmoved(model: nn.Module) -> Iterator[None]:
    """Put back what a model's forwards have changed of its buffers, whatever the mode.

    Observers of fake quantization, queues and counters move in eval mode too. Only what
    a state dict has is put back: of the rest, tables that a module can make again, its
    attributes may tell the length.
    """
    before = [
        (module, own.rpartition(".")[2], buffer, buffer.detach().clone())
        for module, own, buffer in stored_buffers(model)
        if _is_inexact(buffer) or buffer.numel() <= MOST_INTEGERS
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, buffer, values in before:
                if getattr(module, name, None) is not buffer:
                    setattr(module, name, buffer)
                if not _same(values, buffer):
                    _set(buffer, values)


class WatchedBuffers:
    """Notices what a task's training leaves in buffers that are not kept for each.

    Codebooks and scales that follow a moving average are such: old tasks are tested
    with the last task's. Only what a state dict of the model has is looked at, for the
    rest are tables that it can make again.

    Parameters
    ----------
    model : nn.Module
    kept : collection of nn.Module
        Whose running statistics are taken care of.
    """

    def __init__(self, model: nn.Module, kept: Collection[nn.Module]) -> None:
        self._model = original_model(model)
        self._kept = {id(module) for module in kept}
        self._before: dict[str, Tensor] = {}

    def begin_task(self) -> None:
        """Remember them as they are."""
        self._before = {name: b.detach().clone() for name, b in self._watched()}

    def warn_of_changed(self) -> None:
        """Tell which have changed since the task began.

        Warns
        -----
        UserWarning
            If any has.
        """
        before = self._before
        changed = [
            name
            for name, buffer in self._watched()
            if name in before and not _same(before[name], buffer)
        ]
        if changed:
            warn_caller(
                f"{', '.join(changed)}: buffers that training changed, which no "
                "projection protects: old tasks are tested with this task's. Of "
                "running_mean and running_var alone is one kept for each task. Put "
                "these back inside of task(), or keep training from changing them"
            )

    def end_task(self) -> None:
        """Forget them."""
        self._before = {}

    def _watched(self) -> Iterator[tuple[str, Tensor]]:
        for module, own, buffer in stored_buffers(self._model):
            *path, name = own.split(".")
            if id(module) in self._kept or "parametrizations" in path:
                continue
            if buffer.is_floating_point() and not _is_estimate(module, name):
                yield own, buffer


def _is_inexact(buffer: Tensor) -> bool:
    return buffer.is_floating_point() or buffer.is_complex()


def _set(buffer: Tensor, values: Tensor) -> None:
    if buffer.shape != values.shape:  # as observers do, which begin without entries
        buffer.resize_(values.shape)
    buffer.copy_(values)


def _same(before: Tensor, now: Tensor) -> bool:
    if before.shape != now.shape:
        return False
    # What was never filled may hold NaN.
    here = now.detach().to(before)
    pairs = zip(_parts(before), _parts(here), strict=True)
    return all(
        mine.shape == its.shape
        and torch.allclose(mine, its, rtol=0, atol=0, equal_nan=True)
        for mine, its in pairs
    )


def _parts(buffer: Tensor) -> tuple[Tensor, ...]:
    """Return what can be compared, in the memory of what is stored."""
    if buffer.layout is torch.strided:
        return (buffer,)
    if buffer.is_mkldnn:
        return (buffer.to_dense(),)
    entries = buffer.to_sparse_coo().coalesce()
    return entries.indices(), entries.values()


def _is_estimate(module: nn.Module, own: str) -> bool:
    """Tell of a vector that the older spectral normalisation keeps beside a weight."""
    return own.endswith(ESTIMATED) and hasattr(module, f"{own[:-2]}_orig")
