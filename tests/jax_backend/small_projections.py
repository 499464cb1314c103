"""Networks to project, their batches and second moments."""

from typing import Any

import optax
from jax import Array
from jax_backend.nets import (
    draw,
    labels,
    mlp,
    score,
)

from rgo_jax import (
    curvature_vectors,
    observe,
)


def loss(params: Any, batch: Any) -> Array:
    x, y = batch
    return optax.softmax_cross_entropy_with_integer_labels(mlp(params, x), y).mean()


def batch(seed: int = 0, dtype: Any = None) -> tuple[Array, Array]:
    return draw((8, 3), seed, dtype), labels(8, 4, seed)


def moments_of(params: Any, seeds: int = 1) -> Any:
    moments: Any = {}
    for seed in range(seeds):
        found = curvature_vectors(score, params, batch(seed))
        moments = observe(moments, found)
    return moments
