"""Projected gradients for any PyTorch optimizer."""

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from array_api_compat import torch as xp
from torch import Tensor, nn
from torch.optim import Optimizer

import rgo_core
from rgo_core._checks import check_choice, check_mapping, check_seen
from rgo_core.damping import Damping, with_flag
from rgo_core.scaling import NORMALIZE, Normalize, with_biases
from rgo_torch.adapters import FROZEN
from rgo_torch.hooks import Uncopied, already_attached
from rgo_torch.layers.layer import Layer
from rgo_torch.layout import Overrides, Skipped, find_layout
from rgo_torch.optimizers import (
    Project,
    as_optimizers,
    check_optimizers,
    held_by,
    unheld_parameters,
)
from rgo_torch.parameters import (
    Moment,
    ProjectedParameter,
    Projection,
    make_bound,
    projected_parameters,
    projection_parts,
)
from rgo_torch.projected_gradient import ProjectedGradient
from rgo_torch.shared import Groups, shared_layers, shared_parameters
from rgo_torch.workers import Renew, Renewed
from rgo_torch.wrappers import (
    check_whole,
    named_modules,
    named_parameters,
    original_model,
)


class GradientProjector(Uncopied):
    """Projects the gradients, or the updates, of a model's parameters.

    A step uses ``n / trace(P) * P G`` in place of the gradient G of each weight, and
    ``P G`` of each bias and of each parameter that acts entry by entry. Works alone,
    without `rgo_torch.RGO`: feed `consolidate` with second moments from
    `rgo_torch.second_moments`.

    Parameters
    ----------
    model : nn.Module
        May be compiled or wrapped by DistributedDataParallel. State dict and
        parameters stay as they are.
    optimizer : torch.optim.Optimizer, or several
        What steps the model's parameters; all of them, if there are several.
    project : {"gradient", "update"}
        "gradient", the paper's: during the backward pass, as the gradient reaches its
        parameter, so that accumulation, clipping and loss scaling act on projected
        gradients. "update": what the optimizer changes, after its step, which is what
        an adaptive optimizer needs.
    normalize : {"weights", "all", "none"}, optional
        Which projections are scaled to trace n. Those of weights, where gradients are
        projected: the scaling, the paper's, keeps the learning rate. An adaptive
        optimizer's update has a length of its own, which scaling would add to in the
        free directions: "none" for ``project="update"`` where None. "all", the paper's,
        scales those of what has no outputs too (biases, a normalisation's scale). A
        bias has few directions, and their curvature is large: a few tasks close them
        all, and scaling opens them again, so that more is forgotten.
    layout : mapping of str to Axes or None, optional
        Axes of parameters by name, in place of those found; None leaves a parameter
        unprotected. See `find_layout`.
    max_features, sketch_rows : int
        A weight of more inputs than `max_features` keeps a sketch of its second moment,
        of so many rows; None: every weight keeps the whole.
    shared_inputs : iterable of iterable of str, optional
        Layers with LoRA that take in the same features, by groups of names; they have
        one projection, see `RGO`.

    Raises
    ------
    ValueError
        If an option is not one of those listed, the model has nothing to project, the
        optimizer holds none of its parameters, a lazy module has no shape yet, or a
        projector is attached already.
    TypeError
        If the update is to be projected of an optimizer that calls no hooks.

    Warns
    -----
    UserWarning
        If an adaptive optimizer meets ``project="gradient"``: what it divides the
        gradient by undoes the projection. If no optimizer holds a parameter whose
        update is to be projected.

    Notes
    -----
    A step costs ``n^2 m`` a layer, or ``n^2 r`` where there are few rows r (batch times
    positions), see `rgo_core.project_factors`; nothing while P is the identity.
    ``"update"`` always costs ``n^2 m``, and a copy of the weights.

    In ``"gradient"`` mode `torch.autograd.grad` in the parameters returns projected
    gradients too; `paused` gives plain ones.

    References
    ----------
    Liu and Liu, "Continual Learning with Recursive Gradient Optimization", ICLR 2022,
    equation 9 and Algorithm 1.

    Examples
    --------
    >>> import torch, rgo_torch
    >>> model = torch.nn.Linear(3, 2)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> projector = rgo_torch.GradientProjector(model, optimizer)
    >>> batches = [(torch.randn(8, 3), torch.zeros(8, dtype=torch.int64))]
    >>> moments = rgo_torch.second_moments(model, batches)
    >>> projector.consolidate(moments, damping=0.01)
    >>> projector.detach()
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Iterable[Optimizer],
        *,
        project: Project = "gradient",
        normalize: Normalize | None = None,
        layout: Overrides | None = None,
        max_features: int | None = None,
        sketch_rows: int = 128,
        shared_inputs: Groups | None = None,
        biases: str | None = None,
    ) -> None:
        check_choice("project", project, ("gradient", "update"))
        check_choice("normalize", normalize, (None, *NORMALIZE))
        normalize = with_biases(normalize, biases, stacklevel=2)
        if normalize is None:
            normalize = "weights" if project == "gradient" else "none"
        self._model = model
        self.project = project
        self.normalize: Normalize = normalize
        bound = make_bound(max_features, sketch_rows)
        self.layers, self.skipped = find_layout(model, layout)
        if not self.layers:
            raise ValueError(_nothing_to_project(self.skipped))
        self.parameters = projected_parameters(model, self.layers, bound)
        # Whose second moment and projection a parameter shares, by names.
        self.shared = shared_parameters(
            self.parameters, shared_layers(model, self.layers, shared_inputs)
        )
        self._names = {name for name, _ in named_parameters(model)}
        self._optimizers = as_optimizers(optimizer)
        check_optimizers(self._optimizers, self.parameters.values(), project)
        self._check_alone()
        self.moments: dict[str, Moment] = {}
        # Whose moments are kept here; None: all. Other workers keep the rest.
        self.owned: Collection[str] | None = None
        # A parameter without an entry has the identity for its projection.
        self.projections: dict[str, Projection] = {}
        self._paused = False
        self._before: dict[str, Tensor] = {}
        # To notice updates that no hook saw: who has stepped, and versions before.
        self._stepped: dict[int, Optimizer] = {}
        self._versions: dict[str, int] = {}
        self._handles: list[Any] = []
        if project == "gradient":
            self._handles += [
                ProjectedGradient(parameter, partial(self._find, name))
                for name, parameter in self.parameters.items()
            ]
        else:
            for given in self._optimizers:
                self._handles += [
                    given.register_step_pre_hook(self._remember),
                    given.register_step_post_hook(self._project_update),
                ]

    def consolidate(
        self,
        moments: Mapping[str, Moment],
        *,
        damping: Damping,
        relative: bool | None = None,
        donate: bool = False,
        divide: Callable[[Renew], Renewed] | None = None,
    ) -> None:
        """Add second moments to those of earlier tasks and renew the projections.

        Parameters
        ----------
        moments : mapping of str to SecondMoment
            By parameter name, as `rgo_torch.second_moments` returns them.
        damping : float or rgo_core.Relative
            alpha > 0; see `rgo_core.consolidate`.
        relative : bool, optional
            What 0.1.0 had for ``Relative(damping)``, with a warning.
        donate : bool
            Whether a dict of `moments` may be emptied, which saves the memory of one.
        divide : callable, optional
            Has several workers renew a share each; see `Workers.divided`.

        Raises
        ------
        RuntimeError
            As `check_parameters` does; as `divide` does.
        TypeError
            If `moments` is no mapping, or one is of another form than its parameter's
            or not in float64.
        ValueError
            If there are none, a name is unknown, a shape does not fit, all that was
            ever observed is zero, or `rgo_core.consolidate` refuses. Nothing has
            changed then.

        Warns
        -----
        UserWarning
            If updates are projected, and parameters changed without a step of the
            optimizers given: those of another are not projected.

        Notes
        -----
        One Cholesky inverse of n x n in float64 for each parameter in `moments`.
        """
        self.check_parameters()
        check_mapping("moments", moments)
        damping = with_flag(damping, relative, stacklevel=2)
        self._warn_of_others()
        unknown = sorted(set(moments) - set(self.observed))
        if unknown:
            raise ValueError(
                f"moments must be named after projected parameters, got {unknown}; "
                f"there are {sorted(self.observed)}"
            )
        left = moments if donate and isinstance(moments, dict) else dict(moments)

        def renew(mine: Callable[[str], bool]) -> Renewed:
            merged = {
                name: self._merged(self.parameters[name], left.pop(name))
                for name in list(left)
                if self.owned is None or name in self.owned
            }
            if self.owned is None:  # else this worker's share may be zero
                check_seen((self.moments | merged).values(), xp)
            projections = {
                name: self._projection(self.parameters[name], moment, damping)
                for name, moment in merged.items()
                if mine(name)
            }
            return merged, projections

        merged, projections = divide(renew) if divide else renew(lambda name: True)
        self._set(self.moments | merged, self.projections | projections)
        self.watch()

    def watch(self) -> None:
        """Notice from now on what changes protected parameters unprojected.

        Parameters that were set by hand before count as they are; see `consolidate`.
        """
        self._stepped = {}
        self._versions = {
            name: self.parameters[name].tensor._version
            for name in self._projected()
            if self.project == "update"
        }

    def _warn_of_others(self) -> None:
        held = set().union(*map(held_by, self._stepped.values()))
        changed = [
            name
            for name, version in self._versions.items()
            if (tensor := self.parameters[name].tensor)._version != version
            and id(tensor) not in held
        ]
        if changed:
            warnings.warn(
                f"{', '.join(changed)}: changed since the last task by something else "
                "than the optimizers given, whose updates alone are projected. For a "
                "new optimizer detach() RGO, attach a new one to it and load this "
                "one's state, or use project='gradient'",
                stacklevel=5,
            )

    def plasticity(self, damping: Damping) -> dict[str, float]:
        """Return how much of a step is still free, by parameter; see `RGO.plasticity`.

        Where workers share the moments, of those kept here.
        """
        free = {}
        for name, parameter in self.observed.items():
            projection = self.projections.get(name)
            if projection is None:
                free[name] = 1.0
                continue
            if self._is_normalized(parameter):
                if name not in self.moments:
                    continue
                moment = self.moments[name]
                projection = self._projection(parameter, moment, damping, False)
            left: Tensor = rgo_core.plasticity(projection, xp=xp)
            free[name] = float(left.mean())
        keepers = {name: self.shared.get(name, name) for name in self.parameters}
        return {name: free[own] for name, own in keepers.items() if own in free}

    @property
    def observed(self) -> dict[str, ProjectedParameter]:
        """The parameters that have a second moment, their own or one for several."""
        return {n: p for n, p in self.parameters.items() if n not in self.shared}

    def _projected(self) -> list[str]:
        """Return the parameters that have a projection, their own or another's."""
        if not self.shared:
            return list(self.projections)
        kept = self.projections
        return [n for n in self.parameters if self.shared.get(n, n) in kept]

    @property
    def unprotected(self) -> list[Skipped]:
        """The parameters that steps change unprojected, each with the reason."""
        parameters = self.parameters.values()
        unheld = unheld_parameters(self._optimizers, parameters)
        return self.skipped + [
            Skipped(parameter.name, "held by no optimizer given")
            for parameter in unheld
            if self.project == "update"
        ]

    @property
    def protected_share(self) -> float:
        """How much of the model's parameters is projected, from 0 to 1, by entries."""
        model = original_model(self._model)
        total = sum(p.numel() for p in model.parameters())
        return sum(p.numel() for p in self._protected()) / total

    @property
    def trained_share(self) -> float:
        """How much of what is trained now is projected, from 0 to 1, by entries."""
        model = original_model(self._model)
        total = sum(p.numel() for p in model.parameters() if p.requires_grad)
        tensors = self._protected()
        return sum(p.numel() for p in tensors if p.requires_grad) / max(total, 1)

    def _protected(self) -> list[nn.Parameter]:
        left = {name for name, _ in self.unprotected}
        return [p.tensor for name, p in self.parameters.items() if name not in left]

    def check_parameters(self) -> None:
        """Check that the model still has the parameters whose gradients are projected.

        Raises
        ------
        RuntimeError
            If one was replaced by another: ``load_state_dict(..., assign=True)`` does
            so, and parametrizations do. If a module was replaced, or one was added.
        ValueError
            If the model was sharded since.
        """
        now = dict(named_parameters(self._model))
        modules = dict(named_modules(self._model))
        for name, parameter in self.parameters.items():
            for layer, own in parameter.uses:
                if modules.get(layer.name) is not layer.module:
                    raise RuntimeError(_replaced(layer, modules.get(layer.name)))
                if layer.parameter(own) is not parameter.tensor:
                    if name in now:
                        check_whole(name, now[name])
                    raise RuntimeError(
                        f"{name}: the model has another parameter there than when RGO "
                        "was attached, and its gradient is not projected; attach a new "
                        "RGO, and load this one's state into it"
                    )
        new = set(now) - self._names
        added = sorted(name for name in new if now[name].requires_grad)
        if added:
            raise RuntimeError(
                f"{', '.join(added)}: not there when RGO was attached, and not "
                "protected; make all parts of the model before, or detach() RGO, "
                "attach a new one, and load this one's state into it"
            )

    def forget_estimates(self) -> None:
        """Let the optimizer begin anew with what it estimates, of projected updates.

        Of each projected parameter alone. The moments of Adam and its kin are of single
        entries, which stand for other features as soon as an encoding changes.
        """
        if self.project == "update":
            for optimizer in self._optimizers:
                for parameter in self.parameters.values():
                    optimizer.state.pop(parameter.tensor, None)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave gradients and updates alone inside the context."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def detach(self) -> None:
        """Remove every hook; the model and the optimizer are plain again."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return second moments and projections as plain dicts of tensors.

        Those of every parameter: zeros and the identity where nothing was observed.
        Survives ``torch.save`` and ``torch.load(weights_only=True)``. The tensors are
        the projector's own, as in any PyTorch state dict. Where workers share the
        moments, those of others are left out.
        """
        return {
            name: {
                **self.moments[name]._asdict(),
                **projection_parts(self.projections[name]),
            }
            if name in self.moments
            else self._without_moment(parameter)
            for name, parameter in self.observed.items()
        }

    def _without_moment(self, parameter: ProjectedParameter) -> dict[str, Tensor]:
        if self.owned is None or parameter.name in self.owned:
            return parameter.fresh_parts()
        kept = self.projections.get(parameter.name)
        if kept is None:
            fresh = parameter.fresh_parts()
            return {key: fresh[key] for key in fresh if key.startswith("projection")}
        return projection_parts(kept)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state_dict` returned.

        Raises
        ------
        ValueError
            If it is no such state, belongs to another network or holds NaN or
            infinity. Nothing has changed then.
        """
        self._set(*self.loaded(state))

    def loaded(
        self, state: Mapping[str, Any], grown: Collection[str] = ()
    ) -> tuple[dict[str, Moment], dict[str, Projection]]:
        """Return the moments and the projections that a state holds, checked.

        Parameters
        ----------
        state : mapping
        grown : collection of str
            Parameters that may have had fewer outputs.

        Raises
        ------
        ValueError
            As `load_state_dict` does.
        """
        moments: dict[str, Moment] = {}
        projections: dict[str, Projection] = {}
        for name, entry in state.items():
            if name not in self.observed:
                raise ValueError(
                    f"the state is of another network: it has {name!r}, this model has "
                    f"{sorted(self.observed)}"
                )
            parameter = self.parameters[name]
            given = parameter.grown(entry) if name in grown else entry
            if self.owned is not None and name not in self.owned:
                projection = parameter.loaded_projection(given)
                if not parameter.is_identity(projection):
                    projections[name] = projection
                continue
            found = parameter.loaded(given)
            if not parameter.is_fresh(given):
                moments[name], projections[name] = found
        return moments, projections

    def _check_alone(self) -> None:
        """Raise ValueError where another projector is attached."""
        for parameter in self.parameters.values():
            hooks = (parameter.tensor._backward_hooks or {}).values()
            if any(isinstance(_owner(hook), ProjectedGradient) for hook in hooks):
                raise already_attached(parameter.name)
        for optimizer in self._optimizers:
            hooks = getattr(optimizer, "_optimizer_step_pre_hooks", {}).values()
            if any(isinstance(_owner(hook), GradientProjector) for hook in hooks):
                raise already_attached(type(optimizer).__name__)

    def _find(self, name: str) -> Projection | None:
        """Return the projection to apply now, where its parameter is."""
        keeper = self.shared.get(name, name)
        kept = None if self._paused else self.projections.get(keeper)
        if kept is None:
            return None
        projection = self.parameters[name].placed(kept)
        if projection is not kept:  # the model has moved since
            self.projections[keeper] = projection
        return projection

    def _remember(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if any(callable(given) for given in (*args, *kwargs.values())):
            raise ValueError(
                "project='update' needs step() without a closure, which may evaluate "
                "the loss between updates; got one. Use project='gradient'"
            )
        self._stepped[id(optimizer)] = optimizer
        self._before = {
            name: self.parameters[name].tensor.detach().clone()
            for name in self._names_of(optimizer)
            if not self._paused
        }

    def _names_of(self, optimizer: Optimizer) -> Iterable[str]:
        """Return the parameters with a projection that an optimizer may step."""
        projected = self._projected()
        if len(self._optimizers) == 1:
            return projected
        held = held_by(optimizer)
        return [n for n in projected if id(self.parameters[n].tensor) in held]

    @torch.no_grad()
    def _project_update(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for name, before in self._before.items():
            parameter, projection = self.parameters[name], self._find(name)
            assert projection is not None  # remembered because there is one
            # In the weight's own memory: first the update alone, then all again.
            update = parameter.tensor.detach().sub_(before)
            try:
                update.copy_(parameter.projected(projection, update))
            finally:  # where memory ran out: the update as the optimizer made it
                update.add_(before)
        self._before = {}

    def _merged(self, parameter: ProjectedParameter, moment: Moment) -> Moment:
        moment = parameter.placed_moment(moment)
        earlier = self.moments.get(parameter.name)
        if earlier is None:
            return moment
        before: Any = parameter.placed_moment(earlier)
        merged: Moment = rgo_core.merge_moments(before, moment)
        return merged

    def _projection(
        self,
        parameter: ProjectedParameter,
        moment: Moment,
        damping: Damping,
        normalized: bool | None = None,
    ) -> Projection:
        if normalized is None:
            normalized = self._is_normalized(parameter)
        try:
            projection = rgo_core.consolidate(
                moment,
                damping,
                normalized=normalized,
                xp=xp,
            )
        except ValueError as error:
            raise ValueError(f"{parameter.name}: {error}") from error
        return parameter.kept(projection)

    def _is_normalized(self, parameter: ProjectedParameter) -> bool:
        weights, biases = scalings(self.normalize)
        return (biases if parameter.is_vector else weights) == "normalized"

    def _set(
        self, moments: dict[str, Moment], projections: dict[str, Projection]
    ) -> None:
        self.moments, self.projections = moments, projections


def scalings(normalize: Normalize) -> tuple[str, str]:
    """Return what a state has for the option: of weights, and of biases."""
    weights = "raw" if normalize == "none" else "normalized"
    return weights, "normalized" if normalize == "all" else "raw"


def _replaced(layer: Layer, now: nn.Module | None) -> str:
    kind = type(layer.module).__name__
    there = "none" if now is None else f"a new {type(now).__name__}"
    return (
        f"{layer.name}: the {kind} that RGO was attached to was replaced, there is "
        f"{there} there, and its gradient is not projected; detach() RGO, attach a new "
        "one, and load this one's state into it, with grown= where a layer has more "
        "outputs"
    )


def _owner(hook: Any) -> Any:
    return getattr(hook, "__self__", None)


def _nothing_to_project(skipped: Sequence[Skipped]) -> str:
    if skipped and all(reason == FROZEN for _, reason in skipped):
        return (
            "the model has no parameter to project: its adapters are frozen too; load "
            "them with is_trainable=True"
        )
    return "the model has no parameter to project: " + (
        str(dict(skipped)) if skipped else "it has none at all"
    )
