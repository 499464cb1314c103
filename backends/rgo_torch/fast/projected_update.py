"""The updates of optimizers, projected after their steps."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from rgo_torch.distributed.gathered import piece_of
from rgo_torch.distributed.pieces import Update, projected_pieces
from rgo_torch.hooks import remove_all
from rgo_torch.optimizers import held_by, with_inner
from rgo_torch.parameters import ProjectedParameter
from rgo_torch.projections import Projections
from rgo_torch.torch_private import has_step_hooks, version_of
from rgo_torch.warning import warn_caller


class ProjectedUpdate:
    """Projects what optimizers change, until it is removed.

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
        self._before: dict[str, Tensor] = {}
        # To notice updates that no hook saw: who has stepped, and versions before.
        self._stepped: dict[int, Optimizer] = {}
        self._versions: dict[str, int] = {}
        self._handles: list[Any] = []
        # What wraps another steps it (a Lookahead) or is stepped past (SAM): both have
        # hooks, and the outermost that is stepping projects.
        self._hooked = [o for o in with_inner(optimizers) if has_step_hooks(o)]
        self._wrapped = {
            id(o): {id(inner) for inner in with_inner([o])} - {id(o)}
            for o in self._hooked
        }
        self._outermost: Optimizer | None = None
        for given in self._hooked:
            self._handles += [
                given.register_step_pre_hook(self._remember),
                given.register_step_post_hook(self._project),
            ]

    def remove(self) -> None:
        """Leave updates alone from now on."""
        remove_all(self._handles)

    def watch(self) -> None:
        """Notice from now on what changes projected parameters unprojected."""
        self._stepped = {}
        self._versions = {
            name: version_of(piece_of(self._parameters[name].held))
            for name in self._projections.names()
        }

    def warn_of_others(self) -> None:
        """Warn where something else changed parameters since `watch`."""
        held = set().union(*map(held_by, self._stepped.values()))
        changed = [
            name
            for name, version in self._versions.items()
            if version_of(piece_of(own := self._parameters[name].held)) != version
            and id(own) not in held
        ]
        if changed:
            warn_caller(
                f"{', '.join(changed)}: changed since the last task by something else "
                "than the optimizers given, whose updates alone are projected. For a "
                "new optimizer detach() RGO, attach a new one to it and load this "
                "one's state, or use project='gradient'"
            )

    def forget_estimates(self) -> None:
        """Let the optimizers begin anew with what they estimate of each parameter."""
        for optimizer in with_inner(self._optimizers):
            for parameter in self._parameters.values():
                optimizer.state.pop(parameter.held, None)

    def _remember(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        outermost = self._outermost
        if outermost is not None and id(optimizer) in self._wrapped[id(outermost)]:
            return
        if any(callable(given) for given in (*args, *kwargs.values())):
            raise ValueError(
                "project='update' needs step() without a closure, which may evaluate "
                "the loss between updates; got one. Use project='gradient'"
            )
        self._outermost = optimizer
        self._stepped[id(optimizer)] = optimizer
        self._before = {
            name: piece_of(self._parameters[name].held).clone()
            for name in self._names_of(optimizer)
            if not self._projections.paused
        }

    def _names_of(self, optimizer: Optimizer) -> Iterable[str]:
        """Return the parameters with a projection that an optimizer may step."""
        projected = self._projections.names()
        if len(self._hooked) == 1:
            return projected
        held = held_by(optimizer)
        return [n for n in projected if id(self._parameters[n].held) in held]

    @torch.no_grad()
    def _project(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if optimizer is not self._outermost:
            return
        self._outermost = None
        before, self._before = self._before, {}
        # In the weights' own memory: first the update alone, then all again.
        waiting: dict[str, Tensor] = {}

        def updates() -> Iterator[tuple[str, Update]]:
            for name in before:
                parameter = self._parameters[name]
                projection = self._projections.bring(name)
                assert projection is not None  # remembered because there is one
                waiting[name] = piece_of(parameter.held).sub_(before[name])
                yield name, Update(parameter, projection, waiting[name])

        try:
            for name, projected in projected_pieces(updates()):
                torch.add(before[name], projected, out=waiting.pop(name))
        finally:  # where memory ran out: updates as the optimizer made them
            for name, piece in waiting.items():
                piece.add_(before[name])
