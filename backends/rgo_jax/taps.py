"""Taps: curvature vectors of every sample by one backward pass to the outputs."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

import rgo_core
from rgo_core.vectors import Reduce
from rgo_jax.checks import checked_scores
from rgo_jax.ranks import any_ranks
from rgo_jax.shardings import by_compiler
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
) -> tuple[Array, tuple[Array, Array]]:
    return outputs, (tap, inputs)


@any_ranks
def _backward(
    vectors: Vectors, saved: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array, None]:
    tap, inputs = saved
    found: Array = by_compiler(vectors, inputs, gradient, like=tap)
    return gradient, found.astype(tap.dtype), None


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
    strides: tuple[int, ...],
    padding: str | Sequence[tuple[int, int]],
    dilation: tuple[int, ...],
    sides: tuple[int, ...],
    reduce: Tapped,
    inputs: Array,
    gradient: Array,
) -> Array:
    """Return the vectors (b, kh kw channels) of a convolution of a kernel's `sides`.

    A product for each place in the kernel: mapped over samples JAX's own gradient is a
    convolution of as many groups, which XLA computes wrongly where they are sharded.
    """
    column = rgo_core.reduce_outputs(gradient, reduce=reduce, xp=jnp)[..., 0]
    size, positions = inputs.shape[1:-1], gradient.shape[1:-1]
    if isinstance(padding, str):
        spread = [(k - 1) * step + 1 for k, step in zip(sides, dilation, strict=True)]
        padding = lax.padtype_to_pads(size, spread, strides, padding)
    # Negative where a side is cut off.
    pads = [(0, 0, 0), *((low, high, 0) for low, high in padding), (0, 0, 0)]
    padded = lax.pad(inputs, jnp.zeros((), inputs.dtype), pads)

    def seen(place: tuple[int, ...]) -> Array:
        """Return what the entry of the kernel in a place meets at all positions."""
        begins = [at * step for at, step in zip(place, dilation, strict=True)]
        slices = (
            slice(begin, begin + (count - 1) * step + 1, step)
            for begin, count, step in zip(begins, positions, strides, strict=True)
        )
        return padded[:, *slices]

    products = [
        jnp.einsum("bhwc,bhw->bc", seen(place), column) for place in np.ndindex(*sides)
    ]
    return jnp.concatenate(products, axis=-1)
