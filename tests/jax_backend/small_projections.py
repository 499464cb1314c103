"""Networks to project, their batches and second moments."""

from typing import Any

import jax
import optax
from jax import Array
from jax_backend.nets import draw, labels, mlp, score

from rgo_jax import curvature_vectors, observe


def loss(params: Any, batch: Any) -> Array:
    x, y = batch
    return optax.softmax_cross_entropy_with_integer_labels(mlp(params, x), y).mean()


# Compiled as one program; eagerly each of its operations is one.
gradient = jax.jit(jax.grad(loss))


@jax.jit
def observed(moments: Any, params: Any, batch: Any) -> Any:
    return observe(moments, curvature_vectors(score, params, batch))


def batch(seed: int = 0, dtype: Any = None) -> tuple[Array, Array]:
    return draw((8, 3), seed, dtype), labels(8, 4, seed)


def moments_of(params: Any, seeds: int = 1) -> Any:
    moments: Any = {}
    for seed in range(seeds):
        moments = observed(moments, params, batch(seed))
    return moments
