"""Which task it is: how many have ended, which one goes on, and who looks back."""

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any


class Progress:
    """The count of tasks, which goes up by one at the end of each.

    Attributes
    ----------
    finished : int
        How many tasks have ended.
    current : int or None
        The task that was begun and has not ended; None between tasks.
    """

    def __init__(self) -> None:
        self.finished = 0
        self.current: int | None = None
        self._looking = 0  # how many contexts of `looking_back` are open

    @property
    def begun(self) -> int:
        """How many tasks were begun."""
        return self.finished + (self.current is not None)

    def check_next(self, task: int | None) -> None:
        """Raise unless the next task may begin, and is `task` where that is given."""
        if task is not None and task != self.finished:
            unfinished = "" if self.current is None else ", which has not ended yet"
            raise ValueError(
                f"the next task is {self.finished}{unfinished}, got {task!r}; "
                "to evaluate another one use task()"
            )
        self.check_not_looking("begin_task")

    def check_begun(self, what: str) -> int:
        """Return the current task; raise where there is none to do something with."""
        if self.current is None:
            raise RuntimeError(
                f"no task to {what}: call begin_task({self.finished}) before its "
                "training: where features are encoded, what was trained without it has "
                "those of the task before, and is to be trained again"
            )
        return self.current

    def check_not_looking(self, what: str) -> None:
        """Raise RuntimeError inside of a context that looks back at a task."""
        if self._looking:
            raise RuntimeError(
                f"{what} must not be called inside of task(): a with block, or a "
                "generator that holds one, is still open"
            )

    @contextmanager
    def looking_back(self, task: Any) -> Iterator[int]:
        """Have no task begin inside the context; yield the task, which was begun."""
        begun = self.begun
        if not (isinstance(task, Integral) and 0 <= int(task) < begun):
            raise ValueError(
                f"task must be one that was begun, 0..{begun - 1}, got {task!r}"
                if begun
                else f"no task was begun yet, got {task!r}"
            )
        self._looking += 1
        try:
            yield int(task)
        finally:
            self._looking -= 1

    def begin(self) -> bool:
        """Begin the next task; whether it is new, and another one ended before."""
        is_new = self.current is None and self.finished > 0
        self.current = self.finished
        return is_new

    def end(self) -> None:
        """End the current task."""
        self.finished += 1
        self.current = None
