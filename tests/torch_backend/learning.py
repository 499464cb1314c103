"""A model that RGO learns with, and tasks for it to learn."""

from torch import nn
from torch_backend.nets import (
    batches,
    mlp,
    sgd,
    train,
)

from rgo_torch import RGO


def learner(seed: int = 0, **options: object) -> tuple[nn.Sequential, RGO]:
    """Return an MLP with SGD and RGO; the optimizer is at `rgo.optimizer`."""
    model = mlp(seed)
    optimizer = sgd(model)
    rgo = RGO(model, optimizer, **options)
    rgo.optimizer = optimizer
    return model, rgo


def learn(model: nn.Module, rgo: RGO, task: int) -> None:
    rgo.begin_task(task)
    train(model, rgo.optimizer, batches(seed=task))
    rgo.end_task(batches(seed=task))
