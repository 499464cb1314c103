"""Which parameters of a model are projected, and what is kept of them."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from rgo_core.damping import Damping
from rgo_core.scaling import Normalize
from rgo_torch.layers.skipped import FROZEN, Overrides, Skipped
from rgo_torch.layout import find_layout
from rgo_torch.mesh.gathered import gathered
from rgo_torch.modules.hooks import Uncopied
from rgo_torch.modules.wrappers import named_parameters, original_model
from rgo_torch.observation.shared import Groups, shared_layers, shared_parameters
from rgo_torch.parameters.found import projected_parameters
from rgo_torch.parameters.parameter import Bound, Moment, ProjectedParameter, Projection
from rgo_torch.parameters.projections import Projections, Renewed
from rgo_torch.parameters.state import loaded_parts, parts_of
from rgo_torch.projecting.attachment import check_parameters
from rgo_torch.projecting.hooked import Hooked
from rgo_torch.projecting.optimizers import (
    Project,
    as_optimizers,
    check_optimizers,
    unheld_parameters,
)
from rgo_torch.projecting.strangers import Strangers


class Protection(Uncopied):
    """The projected parameters of a model, with their second moments and projections.

    Parameters
    ----------
    model : nn.Module
    optimizer : torch.optim.Optimizer, or several
    project : {"gradient", "update"}
    normalize : {"weights", "all", "none"}
    layout : mapping of str to Axes or None, optional
    bound : Bound
        How much state a parameter may have.
    shared_inputs : iterable of iterable of str, optional
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Iterable[Optimizer],
        project: Project,
        normalize: Normalize,
        layout: Overrides | None,
        bound: Bound,
        shared_inputs: Groups | None,
    ) -> None:
        self._model = model
        self.project = project
        self.normalize = normalize
        with gathered(model) as held:
            self.layers, self.skipped = find_layout(model, layout)
            if not self.layers:
                raise ValueError(_nothing_to_project(self.skipped))
            self.parameters = projected_parameters(model, self.layers, bound, held)
        # Whose second moment and projection a parameter shares, by names.
        self.shared = shared_parameters(
            self.parameters, shared_layers(model, self.layers, shared_inputs)
        )
        self._shapes = {n: tuple(p.shape) for n, p in named_parameters(model)}
        self._optimizers = as_optimizers(optimizer)
        check_optimizers(self._optimizers, self.parameters.values(), project)
        ids = {id(p.held) for p in self.parameters.values()}
        self._strangers = Strangers(self._optimizers, model, ids)
        self._strangers.warn()
        self._hooked = Hooked({})
        self._kept = Projections(self.parameters, self.shared, normalize)

    @property
    def unprotected(self) -> list[Skipped]:
        """The parameters that steps change unprojected, each with the reason."""
        unheld = unheld_parameters(self._optimizers, self.parameters.values())
        return self.skipped + [
            Skipped(parameter.name, "held by no optimizer given")
            for parameter in unheld
            if self.project == "update"
        ]

    @property
    def protected_share(self) -> float:
        """How much of the model's parameters is projected, from 0 to 1, by entries."""
        return self._share(lambda parameter: True)

    @property
    def trained_share(self) -> float:
        """How much of what is trained now is projected, from 0 to 1, by entries."""
        return self._share(lambda parameter: parameter.requires_grad)

    def _share(self, counts: Callable[[nn.Parameter], bool]) -> float:
        left = {name for name, _ in self.unprotected}
        projected = [p.held for name, p in self.parameters.items() if name not in left]
        every = original_model(self._model).parameters()
        protected, total = (
            sum(p.numel() for p in some if counts(p)) for some in (projected, every)
        )
        return protected / max(total, 1)

    def check_parameters(self) -> None:
        """Check that the model still has the parameters whose gradients are projected.

        Raises
        ------
        RuntimeError
            If one was replaced by another: ``load_state_dict(..., assign=True)`` does
            so, and parametrizations do. If a module was replaced, or one was added, or
            one has another shape; if the hook on one is gone, as of swapped tensors.
        ValueError
            If the model was sharded since.

        Warns
        -----
        UserWarning
            If an optimizer has come to step what the model does not hold.
        """
        check_parameters(self._model, self.parameters, self._shapes)
        self._hooked.check()
        self._strangers.warn()

    def plasticity(self, damping: Damping) -> dict[str, float]:
        """Return how much of a step is still free, by parameter; see `RGO.plasticity`.

        Where workers share the moments, of those kept here.
        """
        return self._kept.plasticity(damping)

    @property
    def moments(self) -> dict[str, Moment]:
        """The second moments of all tasks so far, by parameter."""
        return self._kept.moments

    @property
    def projections(self) -> dict[str, Projection]:
        """The projections by parameter; one without an entry has the identity."""
        return self._kept.projections

    @property
    def observed(self) -> dict[str, ProjectedParameter]:
        """The parameters that have a second moment, their own or one for several."""
        return self._kept.observed

    @property
    def owned(self) -> Collection[str] | None:
        """Whose moments are kept here; None: all. Other workers keep the rest."""
        return self._kept.owned

    @owned.setter
    def owned(self, names: Collection[str] | None) -> None:
        self._kept.owned = names

    def state_dict(self) -> dict[str, Any]:
        """Return second moments and projections as plain dicts of tensors.

        Those of every parameter: zeros and the identity where nothing was observed.
        Survives ``torch.save`` and ``torch.load(weights_only=True)``. The tensors are
        the projector's own, as in any PyTorch state dict. Where workers share the
        moments, those of others are left out.
        """
        return parts_of(self._kept)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a copy of a state that `state_dict` returned.

        Raises
        ------
        ValueError
            If it is no such state, belongs to another network or holds NaN or
            infinity. Nothing has changed then.
        TypeError
            If second moments in it are not in float64: what was rounded does not come
            back. Nothing has changed then either.
        """
        self.take_over(*self.loaded(state))

    def loaded(
        self, state: Mapping[str, Any], grown: Collection[str] = ()
    ) -> tuple[dict[str, Moment], dict[str, Projection]]:
        """Return copies of what a state holds, checked; `grown` had fewer outputs.

        Raises
        ------
        TypeError, ValueError
            As `load_state_dict` does.
        """
        return loaded_parts(self._kept, state, grown)

    @torch.inference_mode(False)
    def renewed(
        self,
        state: Mapping[str, Any],
        damping: Damping,
        grown: Collection[str] = (),
        mine: Callable[[str], bool] = lambda name: True,
    ) -> Renewed:
        """Return the moments of a state, and projections that are made of them anew.

        Those of names that are `mine`: other workers make the rest.

        Raises
        ------
        TypeError, ValueError
            As `load_state_dict` and `rgo_core.consolidate` do.
        """
        moments, _ = self.loaded(state, grown)
        return moments, self._kept.of_moments(moments, damping, mine)

    def take_over(
        self, moments: dict[str, Moment], projections: dict[str, Projection]
    ) -> None:
        """Have these moments and projections from now on."""
        self._kept.moments, self._kept.projections = moments, projections


def _nothing_to_project(skipped: Sequence[Skipped]) -> str:
    if skipped and all(reason == FROZEN for _, reason in skipped):
        return (
            "the model has no parameter to project: its adapters are frozen too; load "
            "them with is_trainable=True"
        )
    return "the model has no parameter to project: " + (
        str(dict(skipped)) if skipped else "it has none at all"
    )
