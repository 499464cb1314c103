"""Buffers that training changes and nothing protects."""

from collections.abc import Collection, Iterator

import torch
from torch import Tensor, nn

from rgo_torch.warning import warn_caller
from rgo_torch.wrappers import original_model

# Of the power iteration of spectral normalisation: what it says of the weight as it is.
ESTIMATED = ("_u", "_v")


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
        stored = self._model.state_dict().keys()
        for name, module in self._model.named_modules():
            if id(module) in self._kept or "parametrizations" in name.split("."):
                continue
            for own, buffer in module.named_buffers(name, recurse=False):
                known = own in stored and buffer.is_floating_point()
                if known and not _is_estimate(module, own.rpartition(".")[2]):
                    yield own, buffer


def _same(before: Tensor, now: Tensor) -> bool:
    if before.shape != now.shape:
        return False
    # What was never filled may hold NaN.
    here = now.detach().to(before)
    return torch.allclose(before, here, rtol=0, atol=0, equal_nan=True)


def _is_estimate(module: nn.Module, own: str) -> bool:
    """Tell of a vector that the older spectral normalisation keeps beside a weight."""
    return own.endswith(ESTIMATED) and hasattr(module, f"{own[:-2]}_orig")
