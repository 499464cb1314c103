"""Ring memory: a few samples of every class of every task, to be replayed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rgo_bench.methods.method import MethodOptions, NetworkMethod, Setting
from rgo_bench.runs.clock import Clock
from rgo_bench.streams.options import Count


class Replay(NamedTuple):
    """Samples of earlier tasks, each with the classes of its own task in play."""

    x: Tensor  # (b, *input_shape)
    y: Tensor  # (b,)
    mask: Tensor | None  # (b, classes) bool; None: all in play


class RingMemory:
    """Keeps the last k samples of every class of every task.

    Parameters
    ----------
    setting : Setting
        With the masks of the tasks, and the seed that decides the draws.
    per_class : int
        k: how many samples of each class of a task; at least 1.
    """

    def __init__(self, setting: Setting, per_class: int) -> None:
        self._per_class = per_class
        self._masks = setting.masks
        # On the host, so that every device draws the same samples.
        self._generator = torch.Generator().manual_seed(setting.seed)
        self._kept: Replay | None = None
        self._sizes: dict[int, int] = {}  # samples by task, as they lie in `_kept`

    def __len__(self) -> int:
        return 0 if self._kept is None else len(self._kept.y)

    def add(self, task: int, x: Tensor, y: Tensor) -> None:
        """Keep the last k of each class of a task's samples, in the order given."""
        last = [torch.nonzero(y == c)[-self._per_class :, 0] for c in torch.unique(y)]
        rows = torch.cat(last)
        mask = self._masks[task]
        new = Replay(
            x[rows], y[rows], None if mask is None else mask.expand(len(rows), -1)
        )
        self._kept = new if self._kept is None else _join(self._kept, new)
        self._sizes[task] = len(rows)

    def draw(self, size: int) -> Replay:
        """Draw samples without replacement; all, shuffled, where there are no more.

        Raises
        ------
        ValueError
            If nothing is kept yet.
        """
        x, y, mask = self._not_empty()
        drawn = torch.randperm(len(y), generator=self._generator)[:size]
        if y.is_cuda:
            drawn = drawn.pin_memory()  # else the host waits for the device
        rows = drawn.to(y.device, non_blocking=True)
        return Replay(x[rows], y[rows], None if mask is None else mask[rows])

    def draw_task(self) -> tuple[int, Replay]:
        """Draw one of the tasks, each as likely, and return it with all its samples.

        Raises
        ------
        ValueError
            If nothing is kept yet.
        """
        x, y, mask = self._not_empty()
        place = int(torch.randint(len(self._sizes), (), generator=self._generator))
        task, size = list(self._sizes.items())[place]
        start = sum(list(self._sizes.values())[:place])
        rows = slice(start, start + size)
        return task, Replay(x[rows], y[rows], None if mask is None else mask[rows])

    def state_dict(self) -> dict[str, Any]:
        """Return what is kept, and where the draws stand."""
        kept = None if self._kept is None else self._kept._asdict()
        return {
            "kept": kept,
            "sizes": dict(self._sizes),
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state_dict` returned."""
        self._kept = None if state["kept"] is None else Replay(**state["kept"])
        # Not in checkpoints of earlier versions, whose methods draw from all tasks.
        self._sizes = dict(state.get("sizes", {}))
        self._generator.set_state(state["generator"].cpu())

    def _not_empty(self) -> Replay:
        if self._kept is None:
            raise ValueError("the memory is empty: add a task before drawing from it")
        return self._kept


def _join(first: Replay, second: Replay) -> Replay:
    masks = None
    if first.mask is not None and second.mask is not None:
        masks = torch.cat([first.mask, second.mask])
    x, y = torch.cat([first.x, second.x]), torch.cat([first.y, second.y])
    return Replay(x, y, masks)


@dataclass(frozen=True, kw_only=True)
class ReplayOptions(MethodOptions):
    """The options of methods with a ring memory."""

    per_class: Count = 1  # samples kept of each class of a task
    replay: Count = 10  # samples drawn from the memory for a step


class ReplayMethod(NetworkMethod):
    """A method that keeps a ring memory of the tasks learned.

    Subclasses draw from it in `step`.
    """

    options: ReplayOptions
    kept = (*NetworkMethod.kept, "memory")

    def __init__(self, setting: Setting, options: ReplayOptions) -> None:
        super().__init__(setting, options)
        self.memory = RingMemory(setting, options.per_class)

    def end_task(self, x: Tensor, y: Tensor, clock: Clock) -> None:
        """Keep some of the task's samples."""
        with clock.phase("consolidate"):
            self.memory.add(self.current, x, y)
