"""The tasks one after another: which has begun, and a look back at an earlier one."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from rgo_torch.attached import Attached
from rgo_torch.modules.warning import warn_caller
from rgo_torch.progress import Progress
from rgo_torch.trained import Trained


class TaskCycle(Attached):
    """A model that learns task after task, by what is attached to it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._progress = Progress()
        self._changes = Trained(self.projector.observed)
        # Whether a state was loaded since: what changes is watched from begin_task on.
        self._is_resumed = False

    @property
    def finished(self) -> int:
        """How many tasks have ended."""
        return self._progress.finished

    @property
    def current(self) -> int | None:
        """The task that was begun and has not ended; None between tasks."""
        return self._progress.current

    def begin_task(self, task: int | None = None) -> None:
        """Begin the next task: the model encodes for it from now on.

        Parameters
        ----------
        task : int, optional
            Its index, the number of tasks finished; for the reader, and checked.

        Raises
        ------
        ValueError
            If `task` is not the next one. A task that was begun and has not ended may
            be begun again.
        RuntimeError
            If called inside of `task` or after `detach`, if adapters were switched or
            something frozen beside them is trained now, if a batch normalisation was
            replaced, or as `GradientProjector.check_parameters` does.

        Warns
        -----
        UserWarning
            If features are encoded, and an optimizer of the model has stepped since the
            last task ended: what is trained then has that task's features.

        Notes
        -----
        Beside adapters, where updates are projected and features encoded, the optimizer
        forgets what it estimates of projected parameters: an entry is of other features
        now than in the task before. Not so where a task is begun again.
        """
        self._progress.check_next(task)
        self._check_attached()
        self._check_model()
        between = self.encoder is not None and self.current is None
        if between and self.finished and self.projector.stepping.has_stepped:
            warn_caller(
                f"the model was trained after task {self.finished - 1} had ended and "
                f"before begin_task({self.finished}): with the features of the task "
                "before, in which the next one is not tested. Call begin_task first, "
                "and train it again"
            )
        self._encode(self.finished)
        if (is_new := self.current is None) or self._is_resumed:
            self._changes.watch()
        begins = self._progress.begin()
        if begins or self._is_resumed:
            self.projector.watch()
        if begins and self._guard is not None and self.encoder is not None:
            self.projector.forget_estimates()
        self._is_resumed = False
        self.statistics.begin_task(self.finished, is_new=is_new)

    @contextmanager
    def task(self, task: int) -> Iterator[None]:
        """Encode for a task that was begun, inside the context: to evaluate on it.

        Raises
        ------
        ValueError
            If `task` was never begun.
        RuntimeError
            After `detach`, or if the adapters that it was trained with were switched.
        """
        if self.encoder is not None:
            self._check_attached()
            if self._guard is not None:
                self._guard.check()
        encoder = self.encoder
        with (
            self._progress.looking_back(task) as looked_at,
            nullcontext() if encoder is None else encoder.task(looked_at),
            self.statistics.task(looked_at),
        ):
            yield
