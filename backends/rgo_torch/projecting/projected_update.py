"""The updates of optimizers, projected after their steps."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from rgo_core._checks import few_names
from rgo_torch.distributed.pieces import Update, projected_pieces
from rgo_torch.mesh.gathered import piece_of
from rgo_torch.modules.hooks import remove_all
from rgo_torch.modules.torch_private import has_step_hooks, steps_of, version_of
from rgo_torch.modules.values import Values, changed_since, values_of
from rgo_torch.modules.warning import warn_caller
from rgo_torch.parameters.parameter import ProjectedParameter, Projection
from rgo_torch.parameters.projections import Projections
from rgo_torch.projecting.optimizers import held_by, with_inner
from rgo_torch.projecting.outside import Outside


class Before(NamedTuple):
    """A parameter before a step."""

    piece: Tensor  # a copy
    version: int  # after a step whose projection raised; -1: of one that is going on


class ProjectedUpdate:
    """Projects what optimizers change, until it is removed.

    A step that raises calls no hook after it. What it changed stays as it is: nobody
    can tell it from what is restored then. Where projecting raises, `finish` projects
    before the next step.

    Parameters
    ----------
    optimizers : sequence of torch.optim.Optimizer
    parameters : mapping of str to ProjectedParameter
    projections : Projections
    """

    def __init__(
        self,
        optimizers: Sequence[Optimizer],
        parameters: Mapping[str, ProjectedParameter],
        projections: Projections,
    ) -> None:
        self._optimizers = optimizers
        self._parameters = parameters
        self._projections = projections
        # Of the step that is going on, and of one whose projection raised.
        self._before: dict[str, Before] = {}
        self._projected_by: Mapping[str, Projection] = {}
        # To notice updates that no hook saw: who has stepped, and what was before.
        self._stepped: dict[int, Optimizer] = {}
        self._watched: dict[str, tuple[int, Values]] = {}
        self._outside = Outside(parameters)
        self._handles: list[Any] = []
        # What wraps another steps it (a Lookahead) or is stepped past (SAM): both have
        # hooks, and the outermost that is stepping projects.
        self._hooked = [o for o in with_inner(optimizers) if has_step_hooks(o)]
        self._wrapped = {
            id(o): {id(inner) for inner in with_inner([o])} - {id(o)}
            for o in self._hooked
        }
        self._outermost: Optimizer | None = None
        self._depth = 0  # of steps of its own inside of its step
        # A step that is compiled does not take them in: they look at values.
        before, after = map(torch.compiler.disable, (self._remember, self._project))
        for given in self._hooked:
            self._handles += [
                given.register_step_pre_hook(before),
                given.register_step_post_hook(after),
            ]

    def remove(self) -> None:
        """Leave updates alone from now on."""
        remove_all(self._handles)
        self.finish()

    def finish(self) -> None:
        """Project what a projection that raised has left, if nothing changed that."""
        self._outermost = None
        if not self._before:
            return
        is_same = self._projected_by is self._projections.projections
        self._before = {
            name: before
            for name, before in self._before.items()
            if is_same and self._version(name) == before.version
        }
        paused, self._projections.paused = self._projections.paused, False
        try:
            self._project_pending()
        finally:
            self._projections.paused = paused

    def watch(self) -> None:
        """Notice from now on what changes projected parameters unprojected."""
        self._stepped = {}
        self._outside.begin()
        self._watched = {
            name: (self._version(name), values_of(self._parameters[name].held))
            for name in self._projections.names()
        }

    def warn_of_others(self) -> None:
        """Warn where something else changed parameters since `watch`."""
        self._outside.warn()
        held = set().union(*map(held_by, self._stepped.values()))
        changed = [
            name
            for name in self._watched
            if id(self._parameters[name].held) not in held and self._is_changed(name)
        ]
        if changed:
            warn_caller(
                f"{few_names(changed)}: changed since the last task by something else "
                "than the optimizers given, whose updates alone are projected. For a "
                "new optimizer detach() RGO, attach a new one to it and load this "
                "one's state, or use project='gradient'. A loop that adds to the "
                "weights itself gives RGO an SGD that it never steps"
            )

    def forget_estimates(self) -> None:
        """Let the optimizers begin anew with what they estimate of each parameter."""
        for optimizer in with_inner(self._optimizers):
            for parameter in self._parameters.values():
                optimizer.state.pop(parameter.held, None)

    def _remember(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self._is_inside(optimizer):
            self._depth += optimizer is self._outermost
            return
        if any(callable(given) for given in (*args, *kwargs.values())):
            raise ValueError(
                "project='update' needs step() without a closure, which may evaluate "
                "the loss between updates; got one. Use project='gradient'"
            )
        self.finish()
        self._outermost, self._depth = optimizer, 0
        self._stepped[id(optimizer)] = optimizer
        self._projected_by = self._projections.projections
        if self._projections.paused:
            self._outside.forget()
            return
        names = self._names_of(optimizer)
        self._outside.before_step(names)
        for name in names:
            piece = piece_of(self._parameters[name].held)
            self._before[name] = Before(piece.clone(), -1)

    def _is_inside(self, optimizer: Optimizer) -> bool:
        """Whether a step is part of another, which is projected as a whole."""
        outer = self._outermost
        if outer is None:
            return False
        if optimizer is outer:  # whose step calls that of the class it derives from
            return steps_of(outer) > 1
        return id(optimizer) in self._wrapped[id(outer)] and steps_of(outer) > 0

    def _is_changed(self, name: str) -> bool:
        version, values = self._watched[name]
        # No count is kept of what is written through `.data`; the values tell.
        found = changed_since(values, self._parameters[name].held)
        return self._version(name) != version if found is None else found

    def _version(self, name: str) -> int:
        return version_of(piece_of(self._parameters[name].held))

    def _names_of(self, optimizer: Optimizer) -> list[str]:
        """Return the parameters with a projection that an optimizer may step."""
        held = held_by(optimizer)
        return [
            name
            for name in self._projections.names()
            if id(own := self._parameters[name].held) in held
            and (own.requires_grad or own.grad is not None)
        ]

    def _project(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if optimizer is not self._outermost:
            return
        if self._depth:
            self._depth -= 1
            return
        self._outermost = None
        names = list(self._before)
        self._project_pending()
        self._outside.after_step(id(optimizer), names)

    @torch.no_grad()
    def _project_pending(self) -> None:
        # In the weights' own memory: first the update alone, then all again.
        pieces: dict[str, tuple[Tensor, int]] = {}

        def updates() -> Iterator[tuple[str, Update]]:
            for name, before in self._before.items():
                parameter = self._parameters[name]
                projection = self._projections.bring(name)
                assert projection is not None  # remembered because there is one
                piece = piece_of(parameter.held)
                pieces[name] = piece, version_of(piece)
                piece.sub_(before.piece)
                yield name, Update(parameter, projection, piece)

        try:
            for name, projected in projected_pieces(updates()):
                torch.add(self._before[name].piece, projected, out=pieces[name][0])
        finally:  # where memory ran out: updates as the optimizer made them, for now
            for name, (piece, version) in pieces.items():
                # Versions tell what was done: an interrupt comes between any two lines.
                done = version_of(piece) - version
                if done == 1:
                    piece.add_(self._before[name].piece)
                elif done == 2:
                    del self._before[name]
            self._before = {
                name: Before(before.piece, self._version(name))
                for name, before in self._before.items()
            }
