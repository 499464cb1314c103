"""Doors of encoding: widths, seeds, tasks and features."""

from functools import partial
from typing import Any

import jax.numpy as jnp
import torch
from doors.one_layer import Door, M, both

import rgo_jax
import rgo_torch


def encode_with_torch(
    width: Any = M, task: Any = 1, seed: Any = 0, axis: Any = -1, shape: Any = (2, M)
) -> Any:
    model = torch.nn.Sequential(rgo_torch.FeatureEncoding(width, axis))
    rgo_torch.FeatureEncoder(model, seed=seed).set_task(task)
    return model(torch.ones(shape))


def encode_with_jax(
    width: Any = M, task: Any = 1, seed: Any = 0, axis: Any = -1, shape: Any = (2, M)
) -> Any:
    encoding = rgo_jax.make_encoding(width, tasks=3, name="0", seed=seed)
    return rgo_jax.encode(jnp.ones(shape), encoding, task, axis=axis)


encode = partial(both, encode_with_torch, encode_with_jax)
ENCODINGS: dict[str, Door] = {
    **{
        f"width={bad!r}": encode(
            ValueError, f"width must be an integer >= 1, got {bad}", width=bad
        )
        for bad in (0, -1, 4.0)
    },
    **{
        f"seed={bad!r}": encode(
            ValueError, f"seed must be an integer >= 0, got {bad}", seed=bad
        )
        for bad in (-1, 1.5, None)
    },
    **{
        f"task={bad!r}": encode(
            ValueError, f"task must be an integer.* got {bad!r}", task=bad
        )
        for bad in (-1, 1.0, "1", None)
    },
    **{
        f"features {shape} along axis {axis}": encode(
            ValueError, f"expected 4 channels along axis {axis}", axis=axis, shape=shape
        )
        for shape, axis in [((2, 3), -1), ((2, M), 2), ((2, M), -3), ((), -1)]
    },
}
