"""Projectors of small models, and optimizers for them."""

from torch import nn
from torch.optim import Optimizer
from torch_backend.nets import (
    batches,
    sgd,
)

from rgo_torch import GradientProjector, second_moments

DAMPING = 0.01


def consolidated(
    model: nn.Module, optimizer: Optimizer | None = None, **options: str
) -> GradientProjector:
    projector = GradientProjector(model, optimizer or sgd(model), **options)
    projector.consolidate(second_moments(model, batches(seed=90)), damping=DAMPING)
    return projector
