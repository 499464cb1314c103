"""What a model has learned: a state to go on from, one task's model, a table."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from torch import nn

from rgo_torch.encoder.merging import merged_copy
from rgo_torch.mesh.gathered import mesh_of, sharded_modules
from rgo_torch.parameters.projections import Renewed
from rgo_torch.state.belonging import told_axes
from rgo_torch.state.checked import (
    VERSION,
    check_observed,
    checked_state,
    grown_names,
    is_projected_alike,
)
from rgo_torch.state.read_weights import note_reads, told_reads
from rgo_torch.summary import summarize
from rgo_torch.task_end import TaskEnd


class Learned(TaskEnd):
    """A model that learned some tasks, and can be kept, merged and described."""

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
            If `task` was never begun, or the encoding is at a module that cannot take
            it up: one without a weight, as a Flatten, or whose outputs are more than a
            product with its weight plus a bias, as of a class with a forward, parameter
            or buffer of its own, or with a hook before the encoding; or one whose
            weight is used both by its calls and without.
        RuntimeError
            As `task` does; if the model is cut up over workers.

        Notes
        -----
        Weights that are tied are two in the copy. One that is used without its layer
        alone, ``F.linear(h, words.weight)``, stays as it is. A curvature pass sees it,
        and a state remembers; before the first one the copy is another function then:
        compare it inside of ``task(task)``.
        """
        if sharded_modules(self.model) or mesh_of(self.model) is not None:
            raise RuntimeError(
                "merge_for expects a model that is whole, got one that is cut up over "
                "workers: load its state and this RGO's into a whole one"
            )
        with self.task(task):
            parameters = self.projector.parameters.values()
            return merged_copy(self.model, self.encoder, parameters)

    def summary(self) -> str:
        """Return a table of what RGO does to each parameter, and what it costs.

        Its columns: n, the inputs that share a projection, and how many *outputs* share
        it; what is *kept* of the second moment: the "full" matrix, a "sketch", the
        "diagonal" (weaker: entries, or rows of an embedding, that never meet), or
        "shared", another parameter's; whether the layer's outputs, or its "inputs", are
        *encoded*; the memory of its *state*. Once a task has ended, also how much of a
        step is *free*, as `plasticity` tells and at its cost. Below it, notes on what
        was chosen, and what is not projected, with the reason.
        """
        free = self.plasticity() if self.finished else None
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
            "finished": self.finished,
            "current": self.current,
            "encoding": self._encoding(),
            "axes": told_axes(self.projector.observed),
            "options": self._options(),
            "reads": told_reads(self.model),
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
            on under its own, and makes the projections anew where these say so.
        grown : collection of str
            Modules that have more outputs than when the state was made, the new ones
            after the old, or were not there. Old outputs stay protected, new ones
            are not yet.

        Raises
        ------
        ValueError
            If it is not such a state, one of another network, layout, seed, place of
            encoding or other options, or holds nothing of its finished tasks. Nothing
            has changed then.
        TypeError
            If second moments in it are not in float64: what was rounded does not come
            back. Nothing has changed then either.
        RuntimeError
            If called inside of `task`, or after `detach`.

        Notes
        -----
        What is taken over is copied: second moments and projections take twice their
        memory while `state_dict` is held too. Where another damping or normalisation is
        gone on under, one Cholesky inverse of n x n a parameter; all workers call it
        then, if they share the moments.
        """
        self._progress.check_not_looking("load_state_dict")
        self._check_attached()
        axes = told_axes(self.projector.observed)
        more = grown_names(grown, axes)
        state = checked_state(
            state_dict,
            self._encoding(),
            self._options(),
            axes,
            strict=strict,
            grown=more,
        )
        kept = self.statistics.loaded(state["statistics"], state["finished"])
        parts, options = state["parameters"], state["options"]
        if strict or is_projected_alike(options, self._options()):
            moments, projections = self.projector.loaded(parts, more)
        else:
            moments, projections = self._renewed(parts, more)
        check_observed(state["finished"], len(projections))
        self.projector.take_over(moments, projections)
        note_reads(self.model, state.get("reads"))
        self._changes.forget()
        self._is_resumed = True
        self.statistics.detach()
        self.statistics.kept = kept
        progress = self._progress
        progress.finished, progress.current = state["finished"], state["current"]
        # Between tasks the model goes on as in the last one.
        last = max(progress.begun - 1, 0)
        self.statistics.begin_task(last, is_new=False)
        self._encode(last)

    def _renewed(self, parts: Mapping[str, Any], grown: Collection[str]) -> Renewed:
        """Return the moments of a state, with projections by this RGO's options."""

        def renewed(mine: Callable[[str], bool]) -> Renewed:
            return self.projector.renewed(parts, self.damping, grown, mine)

        if self._workers.sharded:
            return self._workers.divided(renewed, self.projector.observed)
        return renewed(lambda name: True)

    def __repr__(self) -> str:
        task = "between tasks" if self.current is None else f"in task {self.current}"
        share = f"{100 * self.projector.protected_share:.1f} % protected"
        return (
            f"{type(self).__name__}({type(self.model).__name__}, {share}, "
            f"project={self.projector.project!r}, damping={self.damping}, "
            f"{self.finished} tasks finished, {task})"
        )
