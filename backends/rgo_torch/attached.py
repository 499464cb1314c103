"""What RGO attaches to a model: encoder, projector, statistics, a guard of adapters."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from rgo_core.cotangents import Curvature
from rgo_core.damping import Relative, split_damping
from rgo_torch.adapters.guard import AdapterGuard
from rgo_torch.distributed.workers import Workers
from rgo_torch.encoder.feature_encoder import FeatureEncoder
from rgo_torch.modules.hooks import Uncopied, remove_copied
from rgo_torch.modules.warning import warn_caller
from rgo_torch.observation.chunks import SampleScore, TrainingBatch
from rgo_torch.options.advice import (
    drifting_statistics,
    encoded_shortcuts,
    kept_by_entry,
    large_states,
    left_plain,
    nothing_encoded,
    permuted_pretraining,
    rounded_weights,
)
from rgo_torch.options.defaults import Chosen
from rgo_torch.options.frozen import frozen_parts
from rgo_torch.options.scope import Scope
from rgo_torch.parameters.parameter import Moment
from rgo_torch.parameters.projections import scalings
from rgo_torch.projecting.attachment import check_normalizations
from rgo_torch.projecting.projector import GradientProjector
from rgo_torch.state.belonging import told_encoding
from rgo_torch.statistics import RunningStatistics, Statistics


class Attached(Uncopied):
    """A model and its optimizers with what RGO attaches to them, until it is detached.

    Parameters
    ----------
    model : nn.Module
    optimizers : sequence of torch.optim.Optimizer
    chosen : Chosen
        The options that depend on each other.
    scope : Scope
        What of the model it takes care of.
    forms : mapping of str to object
        In which form moments are kept: `max_features`, `sketch_rows`, `shared_inputs`.
    seed, unencoded
        See `FeatureEncoder`.
    statistics : {"per-task", "frozen", "running"}
    workers : Workers
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        chosen: Chosen,
        scope: Scope,
        forms: Mapping[str, Any],
        *,
        seed: int,
        unencoded: Iterable[str] | None,
        statistics: Statistics,
        workers: Workers,
    ) -> None:
        self.model = model
        self.damping = chosen.damping
        self._observing = chosen.observing
        self._forms = {"layout": scope.layout, **forms}
        self._workers = workers
        permutes = scope.encodes and not scope.is_beside
        _warn_of([permuted_pretraining(model)] if permutes else [])
        remove_copied(model)
        with ExitStack() as undo:
            self.encoder: FeatureEncoder | None = None
            self._encoded: dict[str, Any] | None = None  # as a state tells it
            if scope.encodes:
                self.encoder = FeatureEncoder(
                    model,
                    seed=seed,
                    unencoded=unencoded,
                    layout=scope.layout,
                    places=scope.places,
                    shared_inputs=forms["shared_inputs"],
                )
                undo.callback(self.encoder.detach)
                self._encoded = told_encoding(self.encoder, model)
            self.projector = GradientProjector(
                model,
                optimizers,
                project=chosen.project,
                normalize=chosen.normalize,
                **self._forms,
            )
            undo.callback(self.projector.detach)
            self.projector.owned = workers.owned(self.projector.observed)
            self.statistics = RunningStatistics(model, statistics)
            undo.callback(self.statistics.detach)
            by_choice = self.encoder is None or unencoded is not None or scope.is_beside
            self._notes = chosen.notes + self._warned_of(
                statistics, by_choice=by_choice
            )
            undo.pop_all()
        beside = scope.is_beside
        self._guard = AdapterGuard(model, scope.adapters) if beside else None
        self._trained = TrainingBatch(model) if beside else None
        self._is_attached = True

    def _warned_of(self, statistics: Statistics, *, by_choice: bool) -> list[str]:
        """Warn of what is at risk though it is protected, and return the notes.

        Whether nothing may be encoded is told, `by_choice`.
        """
        encoded = {} if self.encoder is None else self.encoder.places
        widths = {} if self.encoder is None else self.encoder.widths
        outputs = [name for name, at in encoded.items() if at != "input"]
        layers = self.projector.layers
        found = (
            *self._at_risk_now(),
            kept_by_entry(layers),
            None if by_choice else nothing_encoded(widths, layers),
            encoded_shortcuts(self.model, outputs),
            drifting_statistics(self.statistics.modules, statistics),
            large_states(self.projector.parameters),
        )
        return _warn_of(found)

    def _at_risk_now(self) -> list[str | None]:
        """Return advice on what depends on the model's state: frozen, cast, copied."""
        places = {} if self.encoder is None else self.encoder.places
        encoded = [name for name, at in places.items() if at != "input"]
        held = {n: p.held for n, p in self.projector.parameters.items()}
        return [
            left_plain(self.model, self.projector.skipped),
            frozen_parts(self.model, encoded, self.projector),
            rounded_weights(held),
        ]

    def detach(self) -> None:
        """Remove every hook from the model and the optimizer, for good.

        The state can still be read, and loaded into a new RGO.
        """
        self._is_attached = False
        for part in (
            *(self.projector, self.statistics),
            *(self._guard, self._trained, self.encoder),
        ):
            if part is not None:
                part.detach()

    def plasticity(self) -> dict[str, float]:
        """Return how much of a step is still free, by protected parameter.

        ``trace(Q) / n`` with ``Q = (I + H / alpha)^-1``: 1 where nothing was observed,
        0 where every direction is closed; the mean over experts and other groups.
        Where weights come near zero, the next task is learned at the cost of old ones
        if projections are scaled, and hardly at all otherwise.

        Notes
        -----
        From the projection where that is Q itself; else from H, by one Cholesky inverse
        of n x n a parameter.

        References
        ----------
        `rgo_core.plasticity`.
        """
        return self.projector.plasticity(self.damping)

    @property
    def curvature(self) -> Curvature:
        """Which curvature `second_moments` is asked for."""
        found: Curvature = self._observing.bound.get("curvature", "ground-truth")
        return found

    def _moments_of(
        self, batches: Iterable[Any], asked: Mapping[str, Any]
    ) -> dict[str, Moment]:
        """Run the curvature pass, as `end_task` was asked to and RGO was made to."""
        chunk_size = self._chunk_size(asked["mask"], asked["score"])
        options = {**self._forms, **asked, "chunk_size": chunk_size}
        return self._observing(self.model, batches, **options)

    def _chunk_size(self, mask: Any, score: Any) -> int | None:
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
        """Return what of the encoding second moments belong to."""
        # Copied: torch.distributed.checkpoint writes into what it loads.
        return copy.deepcopy(self._encoded)

    def _options(self) -> dict[str, Any]:
        """Return the options that second moments and projections belong to."""
        number, relative = split_damping(self.damping)
        most = self.damping.most if isinstance(self.damping, Relative) else None
        weights, biases = scalings(self.projector.normalize)
        return {
            **self._observing.told(),
            "damping": float(number),  # torch.load takes no scalar of NumPy's
            "relative": relative,
            "most": None if most is None else float(most),
            "weights": weights,
            "biases": biases,
        }

    def _check_attached(self) -> None:
        if not self._is_attached:
            raise RuntimeError(
                "this RGO was detached; attach a new one, and load this one's "
                "state_dict into it"
            )

    def _check_model(self) -> None:
        if self._guard is not None:
            self._guard.check()
        self.projector.check_parameters()
        if self.statistics.kind != "running":
            check_normalizations(self.model, self.statistics.modules)
        self._notes += _warn_of(n for n in self._at_risk_now() if n not in self._notes)


def _warn_of(found: Iterable[str | None]) -> list[str]:
    """Warn of what was found, and return it."""
    notes = [note for note in found if note is not None]
    for note in notes:  # which may be errors to whoever listens
        warn_caller(note)
    return notes
