"""Which parameters a task has trained, so that its curvature pass leaves none out."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from rgo_core._checks import few_names
from rgo_torch.complex_parts import real_view
from rgo_torch.parameters import ProjectedParameter
from rgo_torch.warning import warn_caller


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

    def watch(self) -> None:
        """Notice what changes from now on: each parameter is read once, none kept."""
        self._before = {n: _sums(p.held) for n, p in self._parameters.items()}
        self._kinds = {n: _kind(p.held) for n, p in self._parameters.items()}

    def forget(self) -> None:
        """Let what changed so far be: it was set, not trained."""
        self._before = {}

    def warn_of_unseen(self, observed: Collection[str]) -> None:
        """Warn of parameters that were trained, and have no second moment.

        Of one that was moved or cast since, sums do not tell.

        Parameters
        ----------
        observed : collection of str
            Those that have one.
        """
        unseen = [
            name
            for name, before in self._before.items()
            if name not in observed
            and self._parameters[name].held.requires_grad
            and self._kinds[name] == _kind(self._parameters[name].held)
            and not torch.equal(_sums(self._parameters[name].held), before)
        ]
        if unseen:
            warn_caller(
                f"{few_names(unseen)}: trained in this task, but no score depends on "
                "them: what they learned is not protected. Give end_task a score of "
                "all that the loss is made of, with a row for each of its outputs"
            )


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
    total = values.sum(dtype=exact)
    return torch.stack([total, torch.linalg.vector_norm(values, dtype=exact)])
