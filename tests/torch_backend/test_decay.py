"""Weight decay that wears old tasks is told, with what it takes."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer
from torch_backend.nets import mlp, sgd
from torch_backend.wrapping import Outer

from rgo_torch import GradientProjector
from rgo_torch.projecting.decay import worn_by


def groups_of(model: nn.Module, *decays: float, **options: Any) -> Optimizer:
    """Return SGD with a decay for each of the layers."""
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    groups = [
        {"params": list(layer.parameters()), "weight_decay": decay}
        for layer, decay in zip(layers, decays, strict=True)
    ]
    return SGD(groups, **options)


@pytest.mark.parametrize(
    ("decays", "options", "taken"),
    [
        ((5e-4, 0.0, 1e-4), {"lr": 0.1}, "5 %"),
        ((0.0, 5e-4, 5e-4), {"lr": 0.1, "momentum": 0.9}, "39 %"),
        ((0.0, 5e-4, 0.0), {"lr": 0.1, "momentum": 0.9, "dampening": 0.9}, "5 %"),
        ((1e-2, 1e-2, 1e-2), {"lr": torch.tensor(1.0)}, "100 %"),
    ],
)
def test_decay_that_is_not_projected_is_told_with_what_it_takes(
    decays: tuple[float, ...], options: dict[str, Any], taken: str
) -> None:
    model = mlp()
    optimizer = groups_of(model, *decays, **options)
    with pytest.warns(UserWarning, match=f"weight decay of SGD .* takes {taken}"):
        GradientProjector(model, Outer(optimizer), project="gradient")


def test_what_decay_takes_is_what_steps_without_gradients_do() -> None:
    weight = nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = SGD([weight], lr=0.02, momentum=0.5, weight_decay=0.05)
    for _ in range(1000):
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
    torch.testing.assert_close(
        1 - float(weight.detach()[0]),
        worn_by(optimizer, optimizer.param_groups[0]),
        atol=0,
        rtol=2e-3,
    )


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda p: SGD(p, lr=0.1, weight_decay=5e-4), False),
        (lambda p: SGD(p, lr=0.1, momentum=0.9, weight_decay=5e-4), True),
        (lambda p: torch.optim.AdamW(p, lr=1e-2), False),
        (lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1), True),
        (lambda p: torch.optim.Adam(p, lr=1e-2, weight_decay=0.1), False),
    ],
)
def test_decay_that_is_projected_is_told_where_it_takes_more(
    make: Callable[[Any], Optimizer], told: bool
) -> None:
    model = mlp()
    optimizer = make(model.parameters())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        GradientProjector(model, optimizer, project="update")
    messages = [str(warning.message) for warning in caught]
    assert all("by itself it takes" in message for message in messages)
    assert len(messages) == told


def test_decay_that_does_not_show_and_that_of_others_is_not_told() -> None:
    model = mlp()
    GradientProjector(model, groups_of(model, 1e-4, 0.0, 1e-5, lr=0.1)).detach()
    warming = groups_of(model, 1e-3, 0.0, 0.0, lr=0.1)
    torch.optim.lr_scheduler.LinearLR(warming, start_factor=0.01)
    with pytest.warns(UserWarning, match="takes 10 %"):
        GradientProjector(model, warming).detach()
    elsewhere = nn.Linear(2, 2)
    own = {"params": list(elsewhere.parameters()), "weight_decay": 0.1}
    optimizer = SGD(model.parameters(), lr=0.1)
    optimizer.add_param_group(own)
    with pytest.warns(UserWarning, match="RGO does not hold"):
        GradientProjector(model, optimizer)


def test_decay_at_a_rate_that_an_optimizer_chooses_itself_is_not_told() -> None:
    model = mlp()
    optimizer = sgd(model)
    optimizer.param_groups[0].update(lr=None, weight_decay=0.1)
    GradientProjector(model, optimizer)
