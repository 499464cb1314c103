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


def learned(**options: object) -> tuple[nn.Sequential, RGO]:
    """Return a model that was observed, not trained, in one task."""
    model = mlp()
    rgo = RGO(model, sgd(model), **options)
    rgo.begin_task(0)
    rgo.end_task(batches())
    return model, rgo
