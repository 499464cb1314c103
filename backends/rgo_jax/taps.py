"""Taps: curvature vectors of every sample by one backward pass to the outputs."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

import rgo_core
from rgo_core.vectors import Reduce
from rgo_jax.checks import checked_scores
from rgo_jax.ranks import any_ranks
from rgo_jax.varying import varying_with

# From a layer's inputs and its output gradient, one vector a sample.
Vectors = Callable[[Array, Array], Array]
# What of the outputs is one vector, at however many positions.
Tapped = Literal["uncancelled", "mean", "signs"]
TAPPED: tuple[Tapped, ...] = ("uncancelled", "mean", "signs")


def tapped_vectors(
    score: Callable[[Mapping[str, Array]], Array], taps: Mapping[str, Array]
) -> dict[str, Array]:
    """Return per-sample curvature vectors from the taps of `dense` and `conv`.

    Parameters
    ----------
    score : callable
        ``score(taps)`` returns an array (b,) or (k, b): the scores of a network whose
        layers were given the taps.
    taps : mapping of str to array (b, n)
        Zeros, for weights and for biases.

    Returns
    -------
    dict of str to array (k b, n)

    Raises
    ------
    ValueError
        If the score has another shape.

    Notes
    -----
    One forward and k backward passes to the layers' outputs, none to the weights.

    Examples
    --------
    >>> import jax.numpy as jnp, rgo_jax
    >>> x, kernel, y = jnp.ones((4, 3)), jnp.ones((3, 2)), jnp.zeros(4, dtype=int)
    >>> def score(taps):
    ...     return rgo_jax.softmax_score(rgo_jax.dense(x, kernel, tap=taps["w"]), y)
    >>> rgo_jax.tapped_vectors(score, {"w": jnp.zeros((4, 3))})["w"].shape
    (4, 3)
    """

    def scores(taps: Mapping[str, Array]) -> Array:
        return checked_scores(score(taps), taps).sum(-1)

    gradients = jax.jacrev(scores)(varying_with(scores, taps))
    return {path: g.reshape(-1, g.shape[-1]) for path, g in gradients.items()}


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def tapped(vectors: Vectors, outputs: Array, tap: Array, inputs: Array) -> Array:
    """Return the outputs of a layer; the cotangent of `tap` is their `vectors`."""
    return outputs


def _forward(
    vectors: Vectors, outputs: Array, tap: Array, inputs: Array
) -> tuple[Array, Array]:
    return outputs, inputs


@any_ranks
def _backward(
    vectors: Vectors, inputs: Array, gradient: Array
) -> tuple[Array, Array, None]:
    return gradient, vectors(inputs, gradient), None


tapped.defvjp(_forward, _backward)


def dense_vectors(reduce: Reduce, inputs: Array, gradient: Array) -> Array:
    """Return the vectors (b, n) of a dense layer."""
    if reduce == "rms":  # one a sample, for at one position all are multiples of it
        found: Array = rgo_core.curvature_vectors(
            inputs[:, None], gradient[None, :, None], reduce=reduce, xp=jnp
        )
        return found.astype(jnp.result_type(inputs, gradient))
    vectors: Array = inputs * rgo_core.reduce_outputs(gradient, reduce=reduce, xp=jnp)
    return vectors


def conv_vectors(
    convolve: Callable[[Array, Array], Array],
    window: tuple[int, ...],
    reduce: Tapped,
    inputs: Array,
    gradient: Array,
) -> Array:
    """Return the vectors (b, kh kw channels) of a convolution."""
    columns = rgo_core.reduce_outputs(gradient, reduce=reduce, xp=jnp)

    def contracted(image: Array, column: Array) -> Array:
        # The gradient in a kernel of one output.
        _, backward = jax.vjp(
            lambda kernel: convolve(image[None], kernel[..., None]),
            jnp.zeros(window, gradient.dtype),
        )
        vector: Array = backward(column[None])[0]
        return vector.reshape(-1)

    return jax.vmap(contracted)(inputs, columns)
