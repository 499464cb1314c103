"""LOS: every task in a subspace of its own, orthogonal to the others'."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rgo_bench.methods.method import MethodOptions, NetworkMethod, Setting
from rgo_torch.layers import find_layers


@dataclass(frozen=True, kw_only=True)
class LOSOptions(MethodOptions):
    """The options of `LOS`."""

    rank: int | None = None  # of a subspace; None: as much as there is for each task


class LOS(NetworkMethod):
    """Low-rank Orthogonal Subspaces (Chaudhry et al., NeurIPS 2020).

    Task t sees the last layer's features through ``P_t``, the projection onto `rank`
    coordinates that no other task has. This is the form of the paper's MNIST streams,
    with no memory, and without the optimisation on the Stiefel manifold that keeps the
    weights orthogonal.

    The paper projects the second hidden layer's output before its ReLU; ours projects
    what the last layer takes, which is the same: the subspaces lie along coordinates,
    and ReLU commutes with them.

    References
    ----------
    Chaudhry, Khan, Dokania and Torr, "Continual Learning in Low-rank Orthogonal
    Subspaces", NeurIPS 2020.
    """

    options: LOSOptions

    def __init__(self, setting: Setting, options: LOSOptions) -> None:
        super().__init__(setting, options)
        layers, _ = find_layers(self.network)
        head = layers[-1]
        self.subspaces = subspaces(
            head.features, setting.tasks, options.rank, setting.device
        )
        self._shown = 0  # the task whose subspace the next forward pass uses
        head.module.register_forward_pre_hook(self._project)

    def begin_task(self, task: int) -> None:
        """Turn to the task's subspace."""
        super().begin_task(task)
        self._shown = task

    def predict(self, x: Tensor, task: int) -> Tensor:
        """Return the logits as seen through the task's subspace."""
        self._shown = task
        try:
            return super().predict(x, task)
        finally:
            self._shown = self.current

    def _project(self, module: nn.Module, inputs: tuple[Any, ...]) -> Tensor:
        projected: Tensor = inputs[0] * self.subspaces[self._shown]
        return projected


def subspaces(
    features: int, tasks: int, rank: int | None, device: torch.device
) -> Tensor:
    """Return the diagonals of the projections: disjoint blocks of coordinates.

    Parameters
    ----------
    features : int
        n, the dimensions that there are.
    tasks : int
        How many subspaces.
    rank : int or None
        The dimensions of each; ``n // tasks`` where None.
    device : torch.device

    Returns
    -------
    Tensor (tasks, n)
        Of zeros and ones.

    Raises
    ------
    ValueError
        If so many subspaces of that rank do not fit.
    """
    rank = features // tasks if rank is None else rank
    if not isinstance(rank, int) or not 1 <= rank <= features // tasks:
        raise ValueError(
            f"rank: expected between 1 and {features} features // {tasks} tasks = "
            f"{features // tasks}, got {rank!r}"
        )
    owner = torch.arange(features, device=device) // rank
    return (owner == torch.arange(tasks, device=device)[:, None]).float()
