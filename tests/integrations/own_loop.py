"""The oracle of every integration: the same tasks in a loop of one's own."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torch_backend.nets import CLASSES, batch, mlp

from rgo_torch import RGO

TASKS, STEPS = 3, 5
MakeOptimizer = Callable[[Iterable[Tensor]], Optimizer]
Pair = tuple[Tensor, Tensor]


def network() -> nn.Sequential:
    """Return an MLP in float64, so that what differs is not rounding."""
    return mlp().double()


class Wrapped(nn.Module):
    """Has the network under the name that it has in the modules of libraries."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


def sgd(parameters: Iterable[Tensor]) -> Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def adam(parameters: Iterable[Tensor]) -> Optimizer:
    return torch.optim.Adam(parameters, lr=0.01)


def task_data(task: int) -> Pair:
    """Return the one batch that a task consists of."""
    x, y = batch(seed=task)
    return x.double(), y


def mask_of(task: int) -> Tensor:
    """Return the mask of a task: all classes but one that never comes in it."""
    mask = torch.ones(CLASSES, dtype=torch.bool)
    mask[3] = bool((task_data(task)[1] == 3).any())
    return mask


def learn(
    model: nn.Module,
    make_optimizer: MakeOptimizer,
    *,
    mask: Callable[[int], Tensor] | None = None,
    **options: Any,
) -> RGO:
    """Learn the tasks, each with a new optimizer; return the last RGO."""
    state: dict[str, Any] = {}
    for task in range(TASKS):
        optimizer = make_optimizer(model.parameters())
        rgo = RGO(model, optimizer, **options)
        if state:
            rgo.load_state_dict(state)
        rgo.begin_task(task)
        x, y = task_data(task)
        for _ in range(STEPS):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        rgo.end_task([(x, y)], mask=None if mask is None else mask(task))
        state = rgo.state_dict()
        if task < TASKS - 1:
            rgo.detach()
    return rgo
