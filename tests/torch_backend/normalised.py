"""A batch-normalised model, and tasks whose inputs lie elsewhere."""

import torch
from torch import Tensor, nn
from torch_backend.nets import CLASSES, FEATURES, sgd, train

from rgo_torch import RGO


class Normalised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm = nn.Linear(FEATURES, 8), nn.BatchNorm1d(8)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.norm(self.first(x))))


def data(task: int) -> list[tuple[Tensor, Tensor]]:
    """Return batches whose inputs lie elsewhere in every task."""
    generator = torch.Generator().manual_seed(task)
    x = torch.randn(4, 16, FEATURES, generator=generator) * (task + 1) + 3 * task
    return [(part, torch.arange(16) % CLASSES) for part in x]


def learned(statistics: str, tasks: int = 2) -> tuple[RGO, Normalised]:
    model = Normalised()
    optimizer = sgd(model)
    rgo = RGO(model, optimizer, statistics=statistics)
    for task in range(tasks):
        rgo.begin_task(task)
        train(model, optimizer, data(task))
        rgo.end_task(data(task))
    return rgo, model


def running(model: Normalised) -> tuple[Tensor, Tensor]:
    return model.norm.running_mean.clone(), model.norm.running_var.clone()
