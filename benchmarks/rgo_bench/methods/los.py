"""LOS: every task in a subspace of its own, orthogonal to the others'."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from rgo_bench.clock import Clock
from rgo_bench.methods.method import MethodOptions, NetworkMethod, Setting, masked
from rgo_bench.methods.replay_memory import RingMemory
from rgo_bench.methods.stiefel import cayley_step, orthonormalized
from rgo_bench.streams.options import Count
from rgo_torch.layers.rows import RowLayer
from rgo_torch.layout import row_layers


@dataclass(frozen=True, kw_only=True)
class LOSOptions(MethodOptions):
    """The options of `LOS`."""

    rank: Count | None = None  # of a subspace; None: as much as there is for each task
    per_class: Count | None = None  # samples kept of each class of a task; None: none
    manifold: Literal["stiefel"] | None = None  # where weights stay; None: anywhere


class LOS(NetworkMethod):
    """Low-rank Orthogonal Subspaces (Chaudhry et al., NeurIPS 2020).

    Task t, counted from 0, sees the last layer's features through ``P_t``, the
    projection onto `rank` coordinates that no other task has. So far this is the form
    of the paper's MNIST streams. That of its convolutional networks adds two things:

    - With ``per_class=1`` every step after the first task replays all that is kept of
      one earlier task, drawn at random, through that task's own subspace and among its
      own classes: the gradient is ``(g_replayed + g_current) / (t + 1)``.
    - With ``manifold="stiefel"`` the weights of all layers but the last begin with
      orthonormal columns, and take Cayley steps that keep them so as far as two
      iterations do (`cayley_step`); biases and the last layer take plain SGD steps.

    The paper projects the second hidden layer's output before its ReLU, and the pooled
    features of its ResNet; ours projects what the last layer takes. That is the same:
    the subspaces lie along coordinates, and ReLU commutes with the projections; after
    the ResNet's pooling of what its last ReLU returns there is nothing negative left.
    A layer with fewer inputs than outputs is constrained, and moved, as its transpose;
    theirs is moved as it is.

    References
    ----------
    Chaudhry, Khan, Dokania and Torr, "Continual Learning in Low-rank Orthogonal
    Subspaces", NeurIPS 2020, algorithm 1.
    """

    options: LOSOptions

    def __init__(self, setting: Setting, options: LOSOptions) -> None:
        super().__init__(setting, options)
        *body, head = row_layers(self.network)
        self.subspaces = subspaces(
            head.features, setting.tasks, options.rank, setting.device
        )
        # That which the next forward pass uses. A tensor: compiled code holds for all.
        self._shown = self.subspaces[0]
        head.module.register_forward_pre_hook(self._project)
        self.memory: RingMemory | None = None
        if options.per_class is not None:
            self.memory = RingMemory(setting, options.per_class)
            self.kept = (*self.kept, "memory")
        self.constrained: list[RowLayer] = body if options.manifold else []
        with torch.no_grad():
            for layer in self.constrained:
                rows = orthonormalized(layer.weight_rows(layer.weight))
                layer.weight.copy_(rows.reshape(layer.weight.shape))

    def begin_task(self, task: int) -> None:
        """Turn to the task's subspace."""
        super().begin_task(task)
        self._shown = self.subspaces[task]

    def step(self, x: Tensor, y: Tensor) -> None:
        """Take one step: along the manifold where there is one, of SGD elsewhere."""
        self.optimizer.zero_grad()
        self.loss(x, y).backward()
        for layer in self.constrained:
            self._follow_manifold(layer)
        self.optimizer.step()

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss whose gradient is ``(g_replayed + g_current) / (t + 1)``."""
        current = super().loss(x, y)
        if self.memory is None or not len(self.memory):
            return current
        task, replay = self.memory.draw_task()
        with self._showing(task):
            logits = masked(self.forward(replay.x), replay.mask)
        replayed = functional.cross_entropy(logits, replay.y)
        return (replayed + current) / (self.current + 1)

    def end_task(self, x: Tensor, y: Tensor, clock: Clock) -> None:
        """Keep some of the task's samples, where there is a memory."""
        if self.memory is not None:
            with clock.phase("consolidate"):
                self.memory.add(self.current, x, y)

    def predict(self, x: Tensor, task: int) -> Tensor:
        """Return the logits as seen through the task's subspace."""
        with self._showing(task):
            return super().predict(x, task)

    @contextmanager
    def _showing(self, task: int) -> Iterator[None]:
        self._shown = self.subspaces[task]
        try:
            yield
        finally:
            self._shown = self.subspaces[self.current]

    def _project(self, module: nn.Module, inputs: tuple[Any, ...]) -> Tensor:
        projected: Tensor = inputs[0] * self._shown
        return projected

    @torch.no_grad()
    def _follow_manifold(self, layer: RowLayer) -> None:
        weight = layer.weight
        if weight.grad is None:  # a layer that this step did not use
            return
        W, G = layer.weight_rows(weight).mT, layer.weight_rows(weight.grad).mT
        moved = cayley_step(W, G, self.setting.lr).mT
        weight.copy_(moved.reshape(weight.shape))
        weight.grad = None  # SGD leaves it where it is


def subspaces(
    features: int, tasks: int, rank: int | None, device: torch.device
) -> Tensor:
    """Return the diagonals (tasks, features) of projections onto coordinates, 0 or 1.

    Each task has a block of `rank` of them, ``features // tasks`` where that is None.
    """
    rank = features // tasks if rank is None else rank
    if not isinstance(rank, int) or not 1 <= rank <= features // tasks:
        raise ValueError(
            f"rank: expected between 1 and {features} features // {tasks} tasks = "
            f"{features // tasks}, got {rank!r}"
        )
    owner = torch.arange(features, device=device) // rank
    return (owner == torch.arange(tasks, device=device)[:, None]).float()
