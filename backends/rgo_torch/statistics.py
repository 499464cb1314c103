"""The running statistics of normalisations, which no projection protects.

A batch normalisation keeps a mean and a variance of its inputs, and moves them at every
training step: what an old task is tested with is soon a new task's.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from rgo_torch.modules.buffers import WatchedBuffers
from rgo_torch.modules.hooks import ModuleHook, remove_all
from rgo_torch.modules.looking import Looks
from rgo_torch.modules.torch_private import own_buffers
from rgo_torch.modules.wrappers import named_modules

Statistics = Literal["per-task", "frozen", "running"]


NAMES = ("running_mean", "running_var")


class Running(NamedTuple):
    """The statistics of one normalisation."""

    mean: Tensor
    variance: Tensor


def normalizations(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules of a model that keep running statistics, by name."""
    return {
        name: module
        for name, module in named_modules(model)
        if all(isinstance(own_buffers(module).get(n), Tensor) for n in NAMES)
    }


class RunningStatistics:
    """Keeps the running statistics of a model's normalisations for each task.

    Parameters
    ----------
    model : nn.Module
    kind : {"per-task", "frozen", "running"}
        "per-task": each task is tested with those of its own training, two vectors a
        normalisation and task. "frozen": after the first task the normalisations use,
        and keep, the statistics of the first, in training too. "running": as PyTorch
        leaves them.
    """

    def __init__(self, model: nn.Module, kind: Statistics) -> None:
        self.kind = kind
        self.modules = normalizations(model)
        self.others = WatchedBuffers(model, self.modules.values())
        self.kept: list[dict[str, Running]] = []  # one for each task that ended
        self.handles: list[Any] = []
        self._looks = Looks[dict[str, Running]]()

    def begin_task(self, task: int, *, is_new: bool) -> None:
        """Freeze the statistics where that is asked for, from the second task on.

        Those that average over all batches begin to count anew where a task is new.
        """
        self.others.begin_task()
        if self.kind == "per-task" and is_new:
            for module in self.modules.values():
                counted = own_buffers(module).get("num_batches_tracked")
                if counted is not None and getattr(module, "momentum", 0) is None:
                    counted.zero_()
        if self.kind == "frozen" and task and not self.handles:
            self._freeze()

    def end_task(self) -> None:
        """Keep the statistics of the task that ends."""
        self.others.end_task()
        if self.kind == "per-task":
            self.kept.append(_copied(self._current()))

    def task(self, task: int) -> AbstractContextManager[None]:
        """Use the statistics of a task that ended, inside the context."""
        ended, home = task < len(self.kept), self._looks.home(self._current)
        asked = _copied(self.kept[task]) if ended else home
        return self._looks.at(asked, self._current, self._put)

    def detach(self) -> None:
        """Let the normalisations go on as PyTorch's."""
        self._looks.close(self._put)
        remove_all(self.handles)

    def state_dict(self) -> tuple[dict[str, Tensor], ...]:
        """Return what is kept: for each task that ended, tensors by name.

        In a tuple, which torch.distributed.checkpoint does not take apart: a fresh
        state has none of its names.
        """
        return tuple(
            {
                f"{name}.{part}": tensor
                for name, running in kept.items()
                for part, tensor in running._asdict().items()
            }
            for kept in self.kept
        )

    def loaded(self, state: Any, finished: int) -> list[dict[str, Running]]:
        """Return what a state holds, checked.

        Raises
        ------
        ValueError
            If it does not hold, for each finished task, two finite vectors of every
            normalisation.
        """
        if not self.modules:
            return [{} for _ in range(finished)]
        expected = finished if self.kind == "per-task" else 0
        if not isinstance(state, tuple | list) or len(state) != expected:
            raise ValueError(
                f"expected running statistics of {expected} tasks, for "
                f"statistics={self.kind!r}, got {_length(state)}"
            )
        return [self._checked(kept) for kept in state]

    def _checked(self, kept: Mapping[str, Tensor]) -> dict[str, Running]:
        found = {}
        for name, current in self._current().items():
            parts = []
            for field, like in current._asdict().items():
                part = kept.get(f"{name}.{field}")
                if part is None or not _fits(part, like):
                    raise ValueError(
                        f"{name}: expected a finite running {field} of shape "
                        f"{tuple(like.shape)} in the state"
                    )
                parts.append(part.clone())
            found[name] = Running(*parts)
        return found

    def _current(self) -> dict[str, Running]:
        return {
            name: Running(*(module.get_buffer(name) for name in NAMES))
            for name, module in self.modules.items()
        }

    def _put(self, statistics: Mapping[str, Running]) -> None:
        # Not written into those that a backward pass may still need.
        for name, running in statistics.items():
            module = self.modules[name]
            for part, tensor in zip(NAMES, running, strict=True):
                setattr(module, part, tensor.to(module.get_buffer(part)))

    def _freeze(self) -> None:
        """Have each normalisation run in eval mode, whatever mode the model is in."""
        for module in self.modules.values():
            modes: list[bool] = []
            self.handles += [
                module.register_forward_pre_hook(_Freeze(modes)),
                module.register_forward_hook(_Thaw(modes), always_call=True),
            ]


@torch.inference_mode(False)  # training writes to no others
def _copied(statistics: Mapping[str, Running]) -> dict[str, Running]:
    return {
        name: Running(*(part.clone() for part in running))
        for name, running in statistics.items()
    }


class _Frozen(ModuleHook):
    def __init__(self, modes: list[bool]) -> None:
        self.modes = modes  # of the calls that have not returned


class _Freeze(_Frozen):
    def __call__(self, module: nn.Module, args: Any) -> None:
        self.modes.append(module.training)
        module.training = False


class _Thaw(_Frozen):
    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        if self.modes:
            module.training = self.modes.pop()


def _fits(part: Any, like: Tensor) -> bool:
    fits = isinstance(part, Tensor) and part.shape == like.shape
    return fits and bool(torch.isfinite(part).all())


def _length(state: Any) -> str:
    return f"{len(state)}" if isinstance(state, tuple | list) else type(state).__name__
