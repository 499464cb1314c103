"""RGO in four lines: encoder and projector of one model, task after task."""

import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from numbers import Integral
from typing import Any, Unpack

from torch import Tensor, nn
from torch.optim import Optimizer

from rgo_core._checks import check_choice
from rgo_core.cotangents import Curvature, Loss
from rgo_core.damping import Damping, split_damping
from rgo_core.scaling import Normalize
from rgo_torch.adapters import AdapterGuard, find_adapters, frozen_parameters
from rgo_torch.advice import (
    drifting_statistics,
    encoded_shortcuts,
    permuted_pretraining,
)
from rgo_torch.chunks import SampleScore, TrainingBatch
from rgo_torch.defaults import choose
from rgo_torch.deprecated import Old, translated
from rgo_torch.encoder import FeatureEncoder
from rgo_torch.hooks import Uncopied, remove_copied
from rgo_torch.layout import Overrides, left_out
from rgo_torch.merging import merged_copy
from rgo_torch.observing import Observe, as_observing
from rgo_torch.optimizers import Project, as_optimizers
from rgo_torch.parameters import Moment
from rgo_torch.places import Place
from rgo_torch.projector import GradientProjector, scalings
from rgo_torch.score import Score
from rgo_torch.shared import Groups, as_groups
from rgo_torch.state import VERSION, check_observed, checked_state, grown_names
from rgo_torch.statistics import RunningStatistics, Statistics
from rgo_torch.summary import summarize
from rgo_torch.workers import Kept, Workers


class RGO(Uncopied):
    """Lets a model learn task after task without forgetting and without replay.

    Parameters
    ----------
    model : nn.Module
        Any model: all of its floating-point parameters are protected, those of modules
        that `register_layout` knows by their inputs, others entry by entry (see
        `summary`). State dict keys and the training loop stay as they are. Of a model
        with adapters (PEFT's LoRA) all that is trained is protected, what is frozen is
        left out, and features are encoded inside of the adapters alone.
    optimizer : torch.optim.Optimizer, or several
        What steps the model; where several optimizers do, a list of all of them.
    damping : float or rgo_core.Relative, optional
        alpha > 0: how much curvature closes a direction. A number belongs to the scale
        of the vectors; ``Relative(share)`` counts in units of the mean of each H's
        diagonal, which is the same for every scale. Where None, what was measured for
        the other options, see `measured_damping`; with ``project="update"`` relative.
    observe : callable, optional
        What runs the curvature pass: ``observe(model, batches, **options)`` returns the
        second moments by parameter name. `second_moments` with options bound,
        ``partial(second_moments, per="batch")`` (the paper's), or one's own function of
        those options that it is given: `mask`, `score`, `loss`, `samples` and `whole`
        of `end_task`, `layout`, `max_features`, `sketch_rows` and `shared_inputs` of
        RGO, and beside adapters a `chunk_size`, where they are not None. Where None:
        `second_moments` with one vector a sample and the mean over outputs for
        ``project="gradient"``; with ``"update"`` what cannot cancel, for before a layer
        normalisation the mean over outputs is zero.
    project : {"gradient", "update"}, optional
        What is projected: the gradient (the paper's) or, for adaptive optimizers, the
        optimizer's update. Where None: the update if the optimizer is adaptive (Adam
        and its kin), else the gradient.
    normalize : {"weights", "all", "none"}, optional
        Which projections are scaled to trace n: those of weights, or of biases too (the
        paper's), or none; see `GradientProjector`. Where None: "weights", but "none"
        for ``project="update"`` of a whole model. Beside adapters the rank space has so
        few directions that a task or two would close them all.
    encode : bool or iterable of str or Place
        Whether each task permutes the layers' channels (False: the paper's RGO-2). Or
        where, in place of all that RGO finds: names of modules whose inputs are
        permuted, or a `Place`. That is for adapters of one's own: the model counts as
        one with adapters, and what is frozen when RGO is attached is left out.
    seed : int
        Draws the permutations.
    unencoded : iterable of str, optional
        Layers whose outputs are not permuted, in place of the default, the last layer.
        Beside adapters: modules whose inputs are not, by default none.
    protect : iterable of str or nn.Module, optional
        What to protect, in place of all: modules, or names of modules or parameters.
        The rest is left as it is, and `summary` says so.
    layout : mapping of str to Axes or None, optional
        Axes of parameters by name, in place of those found; None leaves a parameter
        unprotected. See `find_layout`.
    statistics : {"per-task", "frozen", "running"}
        What becomes of the running statistics of batch normalisation, which no
        projection protects: kept for each task and put back by `task`; those of the
        first task for ever; or left to PyTorch, and forgotten.
    process_group : torch.distributed.ProcessGroup, optional
        The workers that train this model together; those of a DistributedDataParallel,
        or else of the default group where there is one, if None. See `end_task`.
    moments : {"replicated", "sharded"}
        Whether each of several workers keeps all second moments, or a share of them,
        which divides their memory by the workers. A state is whole then in
        `torch.distributed.checkpoint` alone.
    max_features : int, optional
        A weight of more inputs keeps a sketch of its second moment (Frequent
        Directions), of `sketch_rows` rows: ``n l`` numbers in place of ``n^2``, exact
        while no more than l directions were seen. None: every weight keeps the whole.
    sketch_rows : int
        l, at least 1.
    shared_inputs : iterable of iterable of str, optional
        Names of layers with LoRA that take in the same features, by groups, as in
        ``[("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")]``; ends of names
        do, and those that stand in one module belong together. Their A have one
        permutation, one second moment (the sum of what theirs would be) and one
        projection: a third of the memory and of the inverses. That they do take in the
        same is checked as they are observed.
    **old
        Names that options had in 0.1.0, with a warning; gone in the next release.

    Raises
    ------
    ValueError
        If an option is not one of those listed, another RGO is attached to the model,
        or as `GradientProjector` and `FeatureEncoder` do. No hooks are left then.

    Warns
    -----
    UserWarning
        If transformers says that the model was pretrained, and its own features would
        be permuted; if what is called a shortcut and convolves would be permuted; if
        ``statistics="running"`` meets running statistics; or as `GradientProjector`
        does.

    Notes
    -----
    State: one float64 matrix n x n and its projection for each weight (n inputs) and
    each bias (n outputs), a sketch or a diagonal where the layout says so, see
    `summary`.

    References
    ----------
    Liu and Liu, "Continual Learning with Recursive Gradient Optimization", ICLR 2022.

    Examples
    --------
    >>> import torch, rgo_torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> rgo = rgo_torch.RGO(model, optimizer, seed=0)
    >>> for task in range(2):
    ...     x, y = torch.randn(8, 3), torch.randint(2, (8,))
    ...     rgo.begin_task(task)
    ...     torch.nn.functional.cross_entropy(model(x), y).backward()
    ...     optimizer.step()
    ...     rgo.end_task([(x, y)])
    >>> with rgo.task(0):
    ...     logits = model(x)
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Iterable[Optimizer],
        *,
        damping: Damping | None = None,
        observe: Observe | None = None,
        project: Project | None = None,
        normalize: Normalize | None = None,
        encode: bool | Iterable[str | Place] = True,
        seed: int = 0,
        unencoded: Iterable[str] | None = None,
        protect: Iterable[str | nn.Module] | None = None,
        layout: Overrides | None = None,
        statistics: Statistics = "per-task",
        process_group: Any = None,
        moments: Kept = "replicated",
        max_features: int | None = None,
        sketch_rows: int = 128,
        shared_inputs: Groups | None = None,
        **old: Unpack[Old],
    ) -> None:
        damping, relative, observe, normalize, unencoded = translated(
            old, damping, observe, normalize, unencoded
        )
        shared_inputs = as_groups(shared_inputs)
        check_choice("statistics", statistics, ("per-task", "frozen", "running"))
        optimizers = as_optimizers(optimizer)
        adapters = find_adapters(model)
        places = None if isinstance(encode, bool) else encode
        beside = adapters is not None or places is not None
        chosen = choose(
            optimizers,
            as_observing(observe),
            beside_adapters=beside,
            encode=encode if isinstance(encode, bool) else True,
            project=project,
            damping=damping,
            relative=relative,
            normalize=normalize,
        )
        if encode is True and not beside:
            for note in permuted_pretraining(model):
                warnings.warn(note, stacklevel=2)
        if places is not None:
            layout = dict.fromkeys(frozen_parameters(model)) | dict(layout or {})
        if protect is not None:
            layout = left_out(model, protect) | dict(layout or {})
        self.model = model
        self.damping = chosen.damping
        self._observing = chosen.observing
        self._forms: dict[str, Any] = {
            "layout": layout,
            "max_features": max_features,
            "sketch_rows": sketch_rows,
            "shared_inputs": shared_inputs,
        }
        self._workers = Workers(model, process_group, moments)
        remove_copied(model)
        with ExitStack() as undo:
            self.encoder = (
                FeatureEncoder(
                    model,
                    seed=seed,
                    unencoded=unencoded,
                    layout=layout,
                    places=places,
                    shared_inputs=shared_inputs,
                )
                if encode is not False
                else None
            )
            if self.encoder is not None:
                undo.callback(self.encoder.detach)
            self.projector = GradientProjector(
                model,
                optimizers,
                project=chosen.project,
                normalize=chosen.normalize,
                **self._forms,
            )
            undo.callback(self.projector.detach)
            self.projector.owned = self._workers.owned(self.projector.observed)
            self.statistics = RunningStatistics(model, statistics)
            undo.callback(self.statistics.detach)
            encoded = {} if self.encoder is None else self.encoder.places
            advice = [
                *encoded_shortcuts(
                    model, [n for n, at in encoded.items() if at != "input"]
                ),
                *drifting_statistics(self.statistics.modules, statistics),
            ]
            for note in advice:  # which may be errors to whoever listens
                warnings.warn(note, stacklevel=2)
            undo.pop_all()
        self._notes = chosen.notes + advice
        self._guard = AdapterGuard(model, adapters) if beside else None
        self._trained = TrainingBatch(model) if beside else None
        self._beside_adapters = beside
        self._attached = True
        self._finished = 0
        self._current: int | None = None
        self._looking = 0  # how many contexts of `task` are open

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
            If called inside of `task`, whose end would restore another encoding, after
            `detach`, if adapters were switched or something frozen beside them is
            trained now, or as `GradientProjector.check_parameters` does.

        Notes
        -----
        Beside adapters, where updates are projected and features encoded, the optimizer
        forgets what it estimates of projected parameters: an entry is of other features
        now than in the task before. Not so where a task is begun again.
        """
        if task is not None and task != self._finished:
            unfinished = "" if self._current is None else ", which has not ended yet"
            raise ValueError(
                f"the next task is {self._finished}{unfinished}, got {task!r}; "
                "to evaluate another one use task()"
            )
        if self._looking:
            raise RuntimeError("begin_task must not be called inside of task()")
        self._check_attached()
        self._check_model()
        self._encode(self._finished)
        is_new = self._current is None and self._finished > 0
        if is_new:
            self.projector.watch()
        if is_new and self._beside_adapters and self.encoder is not None:
            self.projector.forget_estimates()
        self.statistics.begin_task(self._finished)
        self._current = self._finished

    def end_task(
        self,
        batches: Iterable[Any],
        *,
        mask: Tensor | None = None,
        score: Score | None = None,
        loss: Loss | None = None,
        samples: int | None = None,
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
        samples, whole : int, optional
            Observe so many samples (of each worker's), and let them stand for the whole
            (of each worker's share); see `second_moments`. The cost of the pass falls
            as they do, and the damping keeps its meaning.
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

        Notes
        -----
        Of w workers: all tell whether they observed, sums of ``n (n + 256) / 2``
        float64 numbers a weight are formed, each worker inverts about a w-th (by
        ``n^3``), and sends what comes of it to all others, ``n^2`` numbers.
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
        samples: int | None = None,
        whole: int | None = None,
        together: bool = False,
    ) -> dict[str, Moment]:
        """Return the second moments of the current task: the first half of `end_task`.

        Changes nothing. Unless `together`, it asks no other worker: where several saw
        parts of the data, their moments are to be added (`rgo_core.merge_moments`)
        before `consolidate`. With it they are: on each worker those that it keeps.
        """

        def seen() -> dict[str, Moment]:
            return self._observed(batches, mask, score, loss, samples, whole)

        if not together:
            return seen()
        setting = {"encoding": self._encoding(), "options": self._options()}
        return self._workers.observe(seen, setting, self.projector.observed)

    def _observed(
        self,
        batches: Iterable[Any],
        mask: Tensor | None,
        score: Score | None,
        loss: Loss | None,
        samples: int | None,
        whole: int | None,
    ) -> dict[str, Moment]:
        current = self._check_begun("observe")
        self._check_model()
        with self.task(current):
            return self._observing(
                self.model,
                batches,
                mask=mask,
                score=score,
                loss=loss,
                chunk_size=self._chunk_size(mask, score),
                samples=samples,
                whole=whole,
                **self._forms,
            )

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
        self._check_begun("consolidate")
        self._check_model()
        parameters = self.projector.observed
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
        self._finished += 1
        self._current = None

    @contextmanager
    def task(self, task: int) -> Iterator[None]:
        """Encode for a task that was begun, inside the context: to evaluate on it.

        Raises
        ------
        ValueError
            If `task` was never begun.
        RuntimeError
            After `detach`, where the model encodes no more.
        """
        if self.encoder is not None:
            self._check_attached()
        begun = self._finished + (self._current is not None)
        if not _is_index(task, begun):
            raise ValueError(
                f"task must be one that was begun, 0..{begun - 1}, got {task!r}"
                if begun
                else f"no task was begun yet, got {task!r}"
            )
        self._looking += 1
        try:
            with ExitStack() as stack:
                if self.encoder is not None:
                    stack.enter_context(self.encoder.task(int(task)))
                stack.enter_context(self.statistics.task(int(task)))
                yield
        finally:
            self._looking -= 1

    def merge_for(self, task: int) -> nn.Module:
        """Return a copy of the model that is one task's, for use without this library.

        Its encoding is written into the weights, and PEFT's adapters are merged into
        the layers beside them, so that plain PyTorch runs it.

        Parameters
        ----------
        task : int
            One that was begun.

        Returns
        -------
        nn.Module
            With the outputs that the model has inside of ``task(task)``.

        Raises
        ------
        ValueError
            If `task` was never begun, or the encoding is at a module without a weight
            of its own that could take it up, such as a Flatten.
        RuntimeError
            As `task` does.
        """
        with self.task(task):
            parameters = self.projector.parameters.values()
            return merged_copy(self.model, self.encoder, parameters)

    def detach(self) -> None:
        """Remove every hook from the model and the optimizer, for good.

        The state can still be read, and loaded into a new RGO.
        """
        self._attached = False
        self.projector.detach()
        self.statistics.detach()
        if self._guard is not None:
            self._guard.detach()
        if self._trained is not None:
            self._trained.detach()
        if self.encoder is not None:
            self.encoder.detach()

    def summary(self) -> str:
        """Return a table: each parameter's n and memory, and what is passed through.

        Once a task has ended, also how much of a step is free, as `plasticity` tells
        and at its cost.
        """
        free = self.plasticity() if self._finished else None
        return summarize(self.projector, self.encoder, self._notes, free)

    def state_dict(self) -> dict[str, Any]:
        """Return all state as plain dicts of tensors, strings and numbers.

        With the model's and the optimizer's own it is all that a run needs to go on.
        Survives ``torch.save`` and ``torch.load(weights_only=True)``,
        `torch.distributed.checkpoint` and, by `flat_state`, safetensors. It has the
        matrices of all protected parameters from the start, so that a fresh RGO's can
        be loaded into.
        """
        return {
            "version": VERSION,
            "finished": self._finished,
            "current": self._current,
            "encoding": self._encoding(),
            "options": self._options(),
            "parameters": self.projector.state_dict(),
            "statistics": self.statistics.state_dict(),
        }

    def load_state_dict(
        self,
        state_dict: Mapping[str, Any],
        *,
        strict: bool = True,
        grown: Collection[str] = (),
    ) -> None:
        """Take over a state that `state_dict` returned.

        Parameters
        ----------
        state_dict : mapping
            Of this version, or of 0.1.0.
        strict : bool
            Whether to refuse a state that was made with another `per`, `reduce`,
            `curvature`, `damping`, `relative`, `weights` or `biases`. If not, RGO goes
            on under its own.
        grown : collection of str
            Modules that have more outputs than when the state was made, the new ones
            after the old, or were not there. What was is protected as before, what is
            new not yet.

        Raises
        ------
        ValueError
            If it is not such a state, one of another network, seed, encoding or other
            options, or holds nothing of its finished tasks. Nothing has changed then.
        """
        names = list(self.projector.observed)
        more = grown_names(grown, names)
        state = checked_state(
            state_dict,
            self._encoding(),
            self._options(),
            names,
            strict=strict,
            grown=grown,
        )
        kept = self.statistics.loaded(state["statistics"], state["finished"])
        found = self.projector.loaded(state["parameters"], more)
        check_observed(state["finished"], len(found[1]))
        self.projector.moments, self.projector.projections = found
        self.statistics.kept = kept
        self._finished, self._current = state["finished"], state["current"]
        # Between tasks the model goes on as in the last one.
        last = max(self._finished - 1, 0) if self._current is None else self._current
        self.statistics.begin_task(last)
        self._encode(last)

    def _chunk_size(self, mask: Tensor | None, score: Score | None) -> int | None:
        """Return how many samples the curvature pass may take at once.

        Beside adapters it shall need no more memory than training. A score of one's own
        takes whole batches, for it may look at several samples together.
        """
        if self._trained is None or self._observing.bound.get("per") == "batch":
            return None
        alone = score is None or isinstance(score, SampleScore)
        whole = isinstance(mask, Tensor) and mask.ndim > 1  # one for each sample
        samples = self._trained.samples if alone and not whole else None
        # Half: what reaches the outputs of layers is kept beside their inputs.
        return samples and max(samples // 2, 1)

    def _encode(self, task: int) -> None:
        if self.encoder is not None:
            self.encoder.set_task(task)

    def _encoding(self) -> dict[str, Any] | None:
        if self.encoder is None:
            return None
        found = {"seed": self.encoder.seed, "widths": self.encoder.widths}
        return found | ({"shared": s} if (s := self.encoder.shared) else {})

    def _options(self) -> dict[str, Any]:
        """Return the options that second moments and projections belong to."""
        number, relative = split_damping(self.damping)
        weights, biases = scalings(self.projector.normalize)
        return {
            **self._observing.told(),
            "damping": number,
            "relative": relative,
            "weights": weights,
            "biases": biases,
        }

    def plasticity(self) -> dict[str, float]:
        """Return how much of a step is still free, by protected parameter.

        ``trace(Q) / n`` with ``Q = (I + H / alpha)^-1``: 1 where nothing was observed,
        0 where every direction is closed. Of experts and other groups the mean.

        Notes
        -----
        From the projection where that is Q itself; else from H, by one Cholesky inverse
        of n x n a parameter.

        References
        ----------
        `rgo_core.plasticity`.
        """
        return self.projector.plasticity(self.damping)

    def __repr__(self) -> str:
        task = "between tasks" if self._current is None else f"in task {self._current}"
        share = f"{100 * self.projector.protected_share:.1f} % protected"
        return (
            f"RGO({type(self.model).__name__}, {share}, "
            f"project={self.projector.project!r}, damping={self.damping}, "
            f"{self._finished} tasks finished, {task})"
        )

    @property
    def finished(self) -> int:
        """How many tasks have ended."""
        return self._finished

    @property
    def curvature(self) -> Curvature:
        """Which curvature `second_moments` is asked for."""
        found: Curvature = self._observing.bound.get("curvature", "ground-truth")
        return found

    @property
    def current(self) -> int | None:
        """The task that was begun and has not ended; None between tasks."""
        return self._current

    def _check_attached(self) -> None:
        if not self._attached:
            raise RuntimeError(
                "this RGO was detached; attach a new one, and load this one's "
                "state_dict into it"
            )

    def _check_model(self) -> None:
        if self._guard is not None:
            self._guard.check()
        self.projector.check_parameters()

    def _check_begun(self, what: str) -> int:
        if self._current is None:
            raise RuntimeError(
                f"no task to {what}: call begin_task({self._finished}) first"
            )
        return self._current


def _is_index(value: Any, length: int) -> bool:
    return isinstance(value, Integral) and 0 <= int(value) < length
