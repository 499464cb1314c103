"""One linear layer in both backends, and the doors at which both refuse."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import torch

import rgo_jax
import rgo_torch

N, M, B = 3, 4, 5  # inputs, outputs, samples
NAN, INF = float("nan"), float("inf")
X = np.random.default_rng(0).normal(size=(B, N)).astype(np.float32)
Y = np.asarray([0, 1, 2, 3, 0])


def of_torch(value: Any) -> Any:
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def of_jax(value: Any) -> Any:
    return jnp.asarray(value) if isinstance(value, np.ndarray) else value


def linear() -> Any:
    torch.manual_seed(0)
    return torch.nn.Linear(N, M)


PARAMS = {
    "weight": jnp.asarray(np.random.default_rng(1).normal(size=(M, N)), jnp.float32),
    "bias": jnp.zeros(M),
}


def project_with_torch(**options: Any) -> Any:
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return rgo_torch.GradientProjector(model, optimizer, **options)


def project_with_jax(**options: Any) -> Any:
    return rgo_jax.project_gradients().init(PARAMS)


def rgo_with_torch(**options: Any) -> Any:
    model = torch.nn.Sequential(linear(), torch.nn.Linear(M, M))
    return rgo_torch.RGO(model, torch.optim.SGD(model.parameters(), lr=0.1), **options)


class Door(NamedTuple):
    """What is done in torch and in JAX, and how both refuse it."""

    torch: Callable[[], Any]
    jax: Callable[[], Any]
    error: Any  # one type, or torch's and JAX's
    message: Any


def both(
    with_torch: Callable[..., Any],
    with_jax: Callable[..., Any],
    error: Any,
    message: Any,
    *given: Any,
    **options: Any,
) -> Door:
    """Return the door at which both are given the same."""
    return Door(
        partial(with_torch, *given, **options),
        partial(with_jax, *given, **options),
        error,
        message,
    )
