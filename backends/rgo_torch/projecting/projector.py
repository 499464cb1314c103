"""Projected gradients for any PyTorch optimizer."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from torch import nn
from torch.optim import Optimizer

from rgo_core._checks import check_choice, check_mapping
from rgo_core.damping import Damping, with_flag
from rgo_core.scaling import NORMALIZE, Normalize, with_biases
from rgo_torch.layers.skipped import Overrides
from rgo_torch.mesh.gathered import gathered
from rgo_torch.modules.claims import claim, release
from rgo_torch.observation.shared import Groups
from rgo_torch.parameters.parameter import Moment, make_bound
from rgo_torch.parameters.projections import Renew, Renewed
from rgo_torch.projecting.attachment import check_alone, check_has_gradients
from rgo_torch.projecting.hooked import Hooked
from rgo_torch.projecting.optimizers import Project
from rgo_torch.projecting.projected_gradient import ProjectedGradient
from rgo_torch.projecting.projected_update import ProjectedUpdate
from rgo_torch.projecting.protection import Protection
from rgo_torch.projecting.stepping import Stepping


class GradientProjector(Protection):
    """Projects the gradients, or the updates, of a model's parameters.

    A step uses ``P G`` in place of the gradient G of each parameter; of a weight, where
    asked for, the paper's ``n / trace(P) * P G``. Works alone, without `rgo_torch.RGO`:
    feed `consolidate` with second moments from `rgo_torch.second_moments`.

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
        an adaptive optimizer needs, and what a model has after `parallelize_module`.
    normalize : {"weights", "all", "none"}, optional
        Which projections are scaled to trace n, which keeps the length of a step on
        average and lengthens it in the directions that are left. None means "none",
        which forgets less. "weights" scales those of weights; "all", as in the paper,
        also those of what has no outputs (biases, a normalisation's scale). A bias has
        few directions of large curvature: a few tasks close them all, and scaling
        reopens them, so that more is forgotten.
    layout : mapping of str to Axes or None, optional
        Axes of parameters by name, in place of those found; None leaves a parameter
        unprotected. See `find_layout`.
    max_features, sketch_rows : int
        A weight of more inputs than `max_features`, or a longer bias, keeps a sketch of
        so many rows; None: all keep the whole second moment.
    shared_inputs : iterable of iterable of str, optional
        Layers with LoRA that take in the same features, by groups of names; see `RGO`.

    Raises
    ------
    ValueError
        If an option is not one of those listed, the model has nothing to project, the
        optimizer holds none of its parameters, a lazy module has no shape yet, or a
        projector has one of its parameters already.
    TypeError
        If the update is to be projected of an optimizer that calls no hooks.

    Warns
    -----
    UserWarning
        If an adaptive optimizer meets ``project="gradient"``, which it undoes; if
        decay takes over 1 % of a weight in 1000 steps, 10 % with "update"; if none has
        a parameter of a projected update, or one steps what the model does not hold.

    Notes
    -----
    A step costs ``n^2 m`` a layer, or ``n^2 r`` where there are few rows r (batch times
    positions), see `rgo_core.project_factors`; nothing while P is the identity.
    ``"update"`` always costs ``n^2 m``, and a copy of the weights.

    `torch.autograd.grad` returns projected gradients too; `paused` gives plain ones.

    References
    ----------
    Liu and Liu (2022), equation 9 and Algorithm 1.

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
        normalize = with_biases(normalize, biases, stacklevel=2) or "none"
        bound = make_bound(max_features, sketch_rows)
        self._gradients: dict[str, ProjectedGradient] = {}
        self._updates: ProjectedUpdate | None = None
        check_has_gradients(model, project)
        with gathered(model):  # for hooks are of what the model computes with
            super().__init__(
                model, optimizer, project, normalize, layout, bound, shared_inputs
            )
            check_alone(self.parameters.values(), self._optimizers)
            if project == "gradient":
                self._gradients = {
                    name: ProjectedGradient(parameter, partial(self._kept.bring, name))
                    for name, parameter in self.parameters.items()
                }
                self._hooked = Hooked(self.parameters)
        given = self._optimizers
        self.stepping = Stepping(given, self.parameters.values())
        if project == "update":
            self._updates = ProjectedUpdate(given, self.parameters, self._kept)
        claim(self, (t for p in self.parameters.values() for t in (p.tensor, p.held)))

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
        moments : mapping of str to SecondMoment, DiagonalMoment or SketchedMoment
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
            optimizers given, or after each step: that is not projected.

        Notes
        -----
        One Cholesky inverse of n x n in float64 for each parameter in `moments`. Where
        gradients are projected, what is left in ``grad`` and the momentum in whatever
        steps the parameters, given or not, are set to zero, and LBFGS's state emptied:
        the old projections let them through.
        """
        self.check_parameters()
        check_mapping("moments", moments)
        damping = with_flag(damping, relative, stacklevel=2)
        if self._updates is not None:
            self._updates.warn_of_others()
        unknown = sorted(set(moments) - set(self.observed))
        if unknown:
            raise ValueError(
                f"moments must be named after projected parameters, got {unknown}; "
                f"there are {sorted(self.observed)}"
            )
        left = moments if donate and isinstance(moments, dict) else dict(moments)
        if self._updates is not None:
            self._updates.finish()
        self._kept.renew(left, damping, divide)
        if self._updates is None:
            self.stepping.drop_momentum()
        self.watch()

    def watch(self) -> None:
        """Notice from now on what changes protected parameters unprojected.

        Parameters that were set by hand before count as they are; see `consolidate`.
        """
        self.stepping.forget()
        if self._updates is not None:
            self._updates.watch()
        for gradient in self._gradients.values():
            gradient.reached = False

    def bypassed(self) -> set[str]:
        """Return the parameters that no backward pass gave a gradient since `watch`."""
        return {n for n, gradient in self._gradients.items() if not gradient.reached}

    def forget_estimates(self) -> None:
        """Let the optimizer begin anew with what it estimates, of projected updates.

        Of each projected parameter alone. The moments of Adam and its kin are of single
        entries, which stand for other features as soon as an encoding changes.
        """
        if self._updates is not None:
            self._updates.forget_estimates()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave gradients and updates alone inside the context."""
        before, self._kept.paused = self._kept.paused, True
        try:
            yield
        finally:
            self._kept.paused = before

    def detach(self) -> None:
        """Remove every hook; the model and the optimizer are plain again."""
        for gradient in self._gradients.values():
            gradient.remove()
        self._gradients.clear()
        self._hooked.release()
        for part in (self.stepping, self._updates):
            if part is not None:
                part.remove()
        release(self)
