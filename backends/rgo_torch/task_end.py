"""The end of a task: its curvature is observed, and the projections renewed."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from rgo_core.cotangents import Loss
from rgo_torch.mesh.gathered import gathered
from rgo_torch.observation.sampling import Samples
from rgo_torch.observation.score import Score
from rgo_torch.parameters.added import added_to
from rgo_torch.parameters.parameter import Moment
from rgo_torch.task_cycle import TaskCycle


class TaskEnd(TaskCycle):
    """A model of which a task's curvature is observed before the next one begins."""

    def end_task(
        self,
        batches: Iterable[Any],
        *,
        mask: Tensor | None = None,
        score: Score | None = None,
        loss: Loss | None = None,
        samples: Samples | None = None,
        whole: int | None = None,
        together: bool = True,
    ) -> None:
        """End the current task: observe its curvature and renew the projections.

        Where torch.distributed has several workers, each calls it with its own share of
        the data, of at least one batch and any size, and all get the projections of the
        whole, bit for bit.

        Parameters
        ----------
        batches : iterable
            The task's training data, or a part of it, as pairs (x, y); with `score`
            anything that it takes.
        mask : Tensor (c,) of bool, optional
            True for the classes of this task.
        score : callable, optional
            For losses of one's own; see `second_moments`.
        loss : {"cross-entropy", "binary", "squared-error"}, optional
            What the task was trained on, cross-entropy where neither this nor `score`
            is given; see `second_moments`.
        samples : int or "enough", optional
            Observe so many samples (of each worker's) in place of all, and let them
            stand for the whole. The cost of the pass falls as they do, and the damping
            keeps its meaning. ``"enough"`` is two for each input of the widest layer.
            The batches must come in random order.
        whole : int, optional
            How many those observed stand for (of each worker's share), where the
            batches do not tell; see `second_moments`.
        together : bool
            Whether the workers' second moments are added up. False for a process that
            trains a model of its own.

        Raises
        ------
        RuntimeError
            If no task was begun, or as `begin_task` does of the model. If there are
            several workers and any of them fails in any way, has other options or is
            lost: all raise the same error.
        TypeError, ValueError
            As `second_moments` and `GradientProjector.consolidate` do. The task is
            still the current one then, and nothing has changed.
        ValueError
            If moments are sharded, and workers not together.

        Warns
        -----
        UserWarning
            If protected parameters were trained that no score depends on, such as a
            head that the score leaves out, or whose gradients should be projected and
            bypassed the backward pass, as those of `torch.func` do; if the task closes
            no tenth of a direction in any weight, so that it is hardly protected (not
            told where moments are sharded); or if no parameter changed, and an
            optimizer of others stepped.

        Notes
        -----
        With w workers, each reports whether it observed anything; the workers sum
        ``n (n + 256) / 2`` float64 numbers a weight; and each inverts about one w-th of
        the matrices (``n^3``) and sends the results, ``n^2`` numbers, to all others.
        """
        if self._workers.sharded and not together:
            raise ValueError(
                "together=False expects moments='replicated', got 'sharded': a worker "
                "by itself would have a part of them"
            )
        moments = self.observe(
            batches,
            mask=mask,
            score=score,
            loss=loss,
            samples=samples,
            whole=whole,
            together=together,
        )
        self.consolidate(moments, donate=True, together=together)

    def observe(
        self,
        batches: Iterable[Any],
        *,
        mask: Tensor | None = None,
        score: Score | None = None,
        loss: Loss | None = None,
        samples: Samples | None = None,
        whole: int | None = None,
        together: bool = False,
    ) -> dict[str, Moment]:
        """Return the second moments of the current task: the first half of `end_task`.

        Changes nothing. Unless `together`, it asks no other worker: where several saw
        parts of the data, their moments are to be added (`rgo_core.merge_moments`)
        before `consolidate`. With it they are: on each worker those that it keeps. Of a
        model that `fully_shard` cut up all workers call it, for it is gathered.
        """
        asked: dict[str, Any] = {"mask": mask, "score": score, "loss": loss}
        asked |= {"samples": samples, "whole": whole}

        def seen() -> dict[str, Moment]:
            current = self._progress.check_begun("observe")
            if together:  # to end the task
                self._progress.check_not_looking("end_task")
            self._check_attached()
            self._check_model()
            with self.task(current):
                return self._moments_of(batches, asked)

        with gathered(self.model):  # by all, before one of them may fail
            if not together:
                return seen()
            setting = {"encoding": self._encoding(), "options": self._options()}
            return self._workers.observe(seen, setting, self.projector.observed)

    def consolidate(
        self,
        moments: Mapping[str, Moment],
        *,
        donate: bool = False,
        together: bool = False,
    ) -> None:
        """Renew the projections and end the task: the second half of `end_task`.

        With `together` several workers, which have the same moments, invert a share
        each; they always do where moments are sharded.
        """
        self._progress.check_begun("consolidate")
        self._progress.check_not_looking("consolidate")
        self._check_attached()
        self._check_model()
        parameters = self.projector.observed
        owned = self.projector.owned  # other workers have the rest; None: all
        elsewhere = set() if owned is None else set(parameters) - set(owned)
        # What is warned of may be an error to whoever listens: before all is changed.
        added = added_to(self.projector.moments, moments)
        lost = elsewhere, self.projector.bypassed()
        self._changes.warn_of_lost(added, self.damping, *lost)
        if self.projector.stepping.has_stepped_others:
            self._changes.warn_of_untrained()
        self.statistics.others.warn_of_changed()
        shared = self._workers.sharded or (together and self._workers.count > 1)
        self.projector.consolidate(
            moments,
            damping=self.damping,
            donate=donate,
            divide=partial(self._workers.divided, parameters=parameters)
            if shared
            else None,
        )
        self.statistics.end_task()
        self._progress.end()
