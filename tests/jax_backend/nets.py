"""Small networks as plain functions, and the loops they are held against."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import rgo_jax

Params = dict[str, dict[str, Array]]


def mlp_params(widths: tuple[int, ...], seed: int = 0, dtype: Any = None) -> Params:
    """Draw weights and biases of a network of dense layers."""
    generator = np.random.default_rng(seed)
    params = {}
    for index, (n, m) in enumerate(itertools.pairwise(widths)):
        params[f"layer{index}"] = {
            "kernel": jnp.asarray(generator.normal(size=(n, m)) / n**0.5, dtype),
            "bias": jnp.asarray(generator.normal(size=m) / 4, dtype),
        }
    return params


def mlp(params: Params, x: Array) -> Array:
    """Apply dense layers with tanh between them."""
    *hidden, last = params.values()
    for layer in hidden:
        x = jnp.tanh(x @ layer["kernel"] + layer["bias"])
    return x @ last["kernel"] + last["bias"]


def score(params: Params, batch: tuple[Array, Array]) -> Array:
    """Return the scores of the network's logits."""
    x, y = batch
    return rgo_jax.softmax_score(mlp(params, x), y)


def draw(shape: tuple[int, ...], seed: int = 0, dtype: Any = None) -> Array:
    """Draw normal numbers."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def labels(count: int, classes: int, seed: int = 0) -> Array:
    """Draw labels."""
    return jnp.asarray(np.random.default_rng(seed).integers(classes, size=count))


def assert_same(first: Any, second: Any) -> None:
    """Demand equal trees, to the last bit."""
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert jnp.asarray(one).dtype == jnp.asarray(other).dtype
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def count_traces(function: Callable[..., Any]) -> tuple[Callable[..., Any], list[int]]:
    """Return the compiled function and a list that grows at every compilation."""
    traces: list[int] = []

    def traced(*args: Any) -> Any:
        traces.append(1)
        return function(*args)

    return jax.jit(traced), traces
