"""A model whose small batches are projected by factors."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch_backend.nets import (
    batch,
    gradients_of,
    sgd,
    wide_mlp,
)
from torch_backend.tolerance import assert_far, assert_near

from rgo_torch import GradientProjector, second_moments

ROWS = 4  # few enough for factors to pay
NAME = "2.weight"


def projected_model() -> tuple[nn.Sequential, GradientProjector]:
    model = wide_mlp()
    projector = GradientProjector(model, sgd(model))
    projector.consolidate(second_moments(model, [batch(64)]), damping=0.001)
    return model, projector


def assert_projected(
    model: nn.Module, projector: GradientProjector, loss: Callable[[], Tensor]
) -> None:
    """Demand ``G P`` of the whole gradient G, however it comes about."""
    with projector.paused():
        plain = gradients_of(model, loss)
    projected = gradients_of(model, loss)
    for name, gradient in plain.items():
        P = projector.projections[name]
        rows = projector.parameters[name].rows(gradient)
        expected = (rows.double() @ P.double()).reshape(gradient.shape)
        bound = float(gradient.norm() * torch.linalg.matrix_norm(P, 2).max())
        assert_near(projected[name], expected, scale=bound)
    assert_far(projected[NAME], plain[NAME])
