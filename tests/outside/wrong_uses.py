"""Mistakes of a user that mypy must see: never run, only checked.

With `--strict` an `ignore` that hides nothing is an error of its own, so that each line
here says: this mistake is reported, under this name.
"""

from functools import partial

import numpy as np
import optax
import torch
from torch import nn

import rgo_core
import rgo_jax
import rgo_torch


def attach(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Use RGO wrongly."""
    rgo_torch.RGO(model, optimizer, damping="much")  # type: ignore[arg-type]
    rgo_torch.RGO(model, optimizer, project="gradients")  # type: ignore[arg-type]
    rgo_torch.RGO(model, optimizer, dampnig=0.1)  # type: ignore[call-arg]
    partial(rgo_torch.second_moments, per="pixel")  # type: ignore[arg-type]
    rgo = rgo_torch.RGO(model, optimizer)
    rgo.begin_task("first")  # type: ignore[arg-type]
    rgo.end_task()  # type: ignore[call-arg]
    rgo.consolidate_all()  # type: ignore[attr-defined]
    left: float = rgo.plasticity()  # type: ignore[assignment]
    assert left


def chain() -> None:
    """Use rgo_jax wrongly."""
    optax.chain(rgo_jax.project_gradients(0.03))  # type: ignore[arg-type]
    rgo_jax.make_encoding("first", tasks=2, name="first")  # type: ignore[arg-type]
    rgo_jax.make_encoding(32, name="first")  # type: ignore[call-arg]


def compute() -> None:
    """Use rgo_core wrongly."""
    moment = rgo_core.empty_moment(8)
    rgo_core.consolidate(moment)  # type: ignore[call-overload]
    rgo_core.consolidate(moment, damping=None)  # type: ignore[call-overload]
    rgo_core.observe(np.eye(8), np.eye(8))  # type: ignore[type-var]
