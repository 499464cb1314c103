"""The checks of the curvature pass: what PyTorch's backend refuses, for JAX's arrays.

Values are looked at where they are concrete; what JAX is tracing has shapes and dtypes.
"""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rgo_core._logits import PROBABILITIES, are_probabilities
from rgo_core._namespace import is_traced


def as_array(name: str, given: Any) -> Array:
    """Return an array of JAX; raise TypeError of what is none, as a list."""
    if not isinstance(given, Array | np.ndarray):
        raise TypeError(f"{name} must be an array, got a {type(given).__name__}")
    return jnp.asarray(given)


def count_samples(batch: Any) -> int:
    """Return how many samples a batch has; raise ValueError where its arrays differ."""
    shapes = [jnp.shape(array) for array in jax.tree.leaves(batch)]
    lengths = {shape[0] if shape else None for shape in shapes}
    length = next(iter(lengths)) if len(lengths) == 1 else None
    if length is None:
        raise ValueError(
            "expected a batch of arrays with its samples along the first axis of each, "
            f"got shapes {shapes}"
        )
    return length


def check_numbers(logits: Array) -> None:
    """Raise ValueError where a concrete logit is NaN; minus infinity is a mask."""
    nan = jnp.isnan(logits).any()
    if not is_traced(nan) and bool(nan):
        raise ValueError("the model's logits must be numbers, got NaN")


def warn_of_probabilities(outputs: Array, *, one: bool) -> None:
    """Warn where concrete outputs are those of a softmax (`one`) or a sigmoid."""
    found = are_probabilities(outputs, jnp, one=one)
    if not is_traced(found) and bool(found):
        warnings.warn(PROBABILITIES, stacklevel=4)


def check_labels(labels: Array, count: int, mask: Array | None) -> None:
    """Raise ValueError where a concrete label is of no class in play."""
    if is_traced(labels):
        return
    given = np.asarray(labels)
    classes = given[..., None] == np.arange(count)
    if mask is not None and not is_traced(mask):
        classes &= np.asarray(mask)
    outside = sorted(set(given[~classes.any(-1)].tolist()))
    if outside:
        raise ValueError(
            f"labels must be of the classes in play among 0..{count - 1}, got {outside}"
        )


def checked_scores(scores: Any, batch: Any, mapped: int | None = None) -> Array:
    """Return the scores as (k, b); raise unless there is one for each sample.

    Of the `mapped` samples that a caller gave `batch` has one, where they are mapped.
    """
    if not isinstance(scores, Array | np.ndarray):
        raise TypeError(
            "a score must be an array of shape (b,) or (k, b), got a "
            f"{type(scores).__name__}"
        )
    samples = {array.shape[0] for array in jax.tree.leaves(batch)}
    if scores.ndim not in (1, 2) or {scores.shape[-1]} != samples:
        one = "" if mapped is None else f", one at a time of your {mapped}"
        raise ValueError(
            f"expected scores of shape (b,) or (k, b) for b in {sorted(samples)} "
            f"samples{one}, got {scores.shape}; of several positions or outputs sum "
            "over positions, as scores.reshape(b, -1).sum(-1)"
        )
    return jnp.atleast_2d(scores)
