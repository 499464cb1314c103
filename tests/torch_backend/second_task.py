"""A model in its second task, whose gradients are projected."""

from collections.abc import Callable

import pytest
import torch
from array_api_compat import torch as xp
from torch import Tensor, nn
from torch_backend.nets import (
    batches,
    gradients_of,
    sgd,
)
from torch_backend.tolerance import assert_near

import rgo_core
from rgo_torch import RGO

# What PyTorch says of itself, where it compiles or differentiates forwards.
FOREIGN_WARNINGS = [
    # At the first forward-mode derivative.
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is dep:DeprecationWarning"),
    # Dynamo's own, which it hides from all but pytest.
    pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning"),
    pytest.mark.filterwarnings(
        "ignore:.*autograd.function.Function.* should not be:DeprecationWarning"
    ),
]
SMALL, LARGE = 4, 64  # batches that project by factors, and directly


def in_second_task(model: nn.Module, **options: object) -> tuple[RGO, object]:
    """Attach RGO, and end one task, so that steps are projected and encoded."""
    optimizer = sgd(model)
    rgo = RGO(model, optimizer, damping=0.001, **options)
    rgo.begin_task(0)
    rgo.end_task(batches(size=LARGE, seed=50))
    rgo.begin_task(1)
    return rgo, optimizer


def assert_projected(rgo: RGO, model: nn.Module, loss: Callable[[], Tensor]) -> None:
    """Demand that gradients are ``G P``, with G those of the paused projector."""
    found = gradients_of(model, loss)
    with rgo.projector.paused():
        plain = gradients_of(model, loss)
    assert set(found) == set(plain)
    moved = []
    for name, gradient in plain.items():
        P = rgo.projector.projections.get(name)
        if P is None:
            assert torch.equal(found[name], gradient)
            continue
        axes = rgo.projector.parameters[name].axes
        rows = rgo_core.to_rows(gradient.double(), axes, leading=0, xp=xp)
        matrix = rgo_core.as_matrix(P).double()
        expected = rgo_core.from_rows(rows @ matrix, axes, gradient.shape, xp=xp)
        bound = float(gradient.norm() * torch.linalg.matrix_norm(matrix, 2).max())
        assert_near(found[name], expected, scale=bound)
        moved.append(float(torch.dist(found[name], gradient) / gradient.norm()))
    assert max(moved) > 0.1
