"""Which parameters a task has trained, so that its curvature pass leaves none out."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from rgo_core._checks import few_names
from rgo_torch.complex_parts import real_view
from rgo_torch.parameters import ProjectedParameter
from rgo_torch.warning import warn_caller

PIECE = 2**20  # entries


class Trained:
    """The parameters that changed since a task began, told by sums of their values.

    Parameters
    ----------
    parameters : mapping of str to ProjectedParameter
    """

    def __init__(self, parameters: Mapping[str, ProjectedParameter]) -> None:
        self._parameters = parameters
        self._before: dict[str, Tensor] = {}
        self._kinds: dict[str, tuple[torch.device, torch.dtype]] = {}
        self._frozen: set[str] = set()  # when the task began

    def watch(self) -> None:
        """Notice what changes from now on: each parameter is read once, none kept."""
        self._before = {n: _sums(p.held) for n, p in self._parameters.items()}
        self._kinds = {n: _kind(p.held) for n, p in self._parameters.items()}
        self._frozen = {
            n for n, p in self._parameters.items() if not p.held.requires_grad
        }

    def forget(self) -> None:
        """Let what changed so far be: it was set, not trained."""
        self._before = {}

    def warn_of_lost(
        self, observed: Collection[str], bypassed: Collection[str]
    ) -> None:
        """Warn of what was trained and loses that, or what was learned before.

        Of one that was moved or cast since, sums do not tell.

        Parameters
        ----------
        observed : collection of str
            Those that have a second moment.
        bypassed : collection of str
            Those whose gradients are projected where no backward pass gave them one.
        """
        changed = [name for name in self._before if self._is_changed(name)]
        unseen = [name for name in changed if name not in observed]
        if unseen:
            warn_caller(
                f"{few_names(unseen)}: trained in this task, but no score depends on "
                "them, of the samples observed: what they learned is not protected. "
                "Give end_task all samples, if it was given a part, and a score of "
                "all that the loss is made of, with a row for each of its outputs"
            )
        unhooked = [name for name in changed if name in bypassed]
        if unhooked:
            warn_caller(
                f"{few_names(unhooked)}: changed in this task, but no backward pass "
                "gave them a gradient to project: what torch.func, a library of "
                "gradients a sample or weight decay changes overwrites earlier tasks. "
                "Use project='update'"
            )

    def _is_changed(self, name: str) -> bool:
        held, before = self._parameters[name].held, self._before[name]
        # What was frozen in the task, after its training, may be lost as well.
        is_trained = held.requires_grad or name not in self._frozen
        if not is_trained or self._kinds[name] != _kind(held):
            return False
        return not torch.equal(_sums(held), before)


def _kind(parameter: Tensor) -> tuple[torch.device, torch.dtype]:
    return parameter.device, parameter.dtype


@torch.no_grad()
def _sums(parameter: Tensor) -> Tensor:
    """Return two sums, of which training changes one at the least."""
    piece = parameter.to_local() if hasattr(parameter, "to_local") else parameter
    values = real_view(piece.detach())
    values = values.float() if values.element_size() == 1 else values  # sums not fp8
    # MPS has no float64.
    exact = torch.float32 if piece.device.type == "mps" else torch.float64
    # In pieces: reductions to another dtype copy what they read.
    pieces = values.flatten().split(PIECE)
    sums = [piece.sum(dtype=exact) for piece in pieces]
    norms = [torch.linalg.vector_norm(piece, dtype=exact) for piece in pieces]
    return torch.stack(
        [torch.stack(sums).sum(), torch.linalg.vector_norm(torch.stack(norms))]
    )
