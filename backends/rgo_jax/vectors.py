"""Curvature vectors of a network's parameters, for one batch."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array

import rgo_core
from rgo_core._checks import check_choice
from rgo_core.vectors import REDUCES, Reduce
from rgo_jax.checks import (
    checked_scores,
    count_samples,
)
from rgo_jax.layout import Axes, Layout, find_layout, named_leaves, replaced
from rgo_jax.ranks import any_ranks

Score = Callable[[Any, Any], Array]
# A gradient is summed over a sample's positions: the core's third has no meaning here.
Per = Literal["sample", "batch"]


def curvature_vectors(
    score: Score,
    params: Any,
    batch: Any,
    *,
    layout: Layout | None = None,
    per: Per = "sample",
    reduce: Reduce = "mean",
) -> dict[str, Array]:
    """Return the curvature vectors of every projected parameter for one batch.

    The gradient of the score, (n, m) for a weight, reduced over its m outputs; one for
    each sample and score, or one for each score of the batch's sum.

    Parameters
    ----------
    score : callable
        ``score(params, batch)`` returns an array (b,) or (k, b), whose entry for a
        sample depends on no other: `softmax_score` of a network's logits, say.
    params : pytree of arrays
    batch : pytree of arrays
        With the samples along the first axis of each.
    layout : Layout, optional
        `find_layout` of the parameters where None.
    per : {"sample", "batch"}
    reduce : {"mean", "rms", "signs", "uncancelled"}
        Over the outputs; see `rgo_core.curvature_vectors`.

    Returns
    -------
    dict of str to array (groups..., v, n)
        By path.

    Raises
    ------
    TypeError
        If the score is no array.
    ValueError
        If an option is not one of those listed, there is no parameter to observe, the
        arrays of `batch` are not all as long, or the score has another shape.

    Notes
    -----
    Pure; may be compiled and mapped. ``per="batch"`` is k plain gradients.
    ``per="sample"`` maps the gradient over the samples, ``b n m`` multiplications a
    layer, and where the compiler does not fuse the reduction as much memory: networks
    made of `dense` and `conv` have the far cheaper `tapped_vectors`. The gradient of an
    embedding is as large as the embedding for each sample: map over few at a time.

    References
    ----------
    Liu and Liu (2022), equation 12.

    Examples
    --------
    >>> import jax.numpy as jnp, rgo_jax
    >>> params = {"kernel": jnp.ones((3, 2))}
    >>> def score(params, batch):
    ...     x, y = batch
    ...     return rgo_jax.softmax_score(x @ params["kernel"], y)
    >>> batch = jnp.ones((4, 3)), jnp.zeros(4, dtype=int)
    >>> rgo_jax.curvature_vectors(score, params, batch)["kernel"].shape
    (4, 3)
    """
    check_choice("per", per, ("sample", "batch"))
    check_choice("reduce", reduce, REDUCES)
    axes = (find_layout(params) if layout is None else layout).axes
    leaves = {path: leaf for path, leaf in named_leaves(params) if path in axes}
    if not leaves:
        raise ValueError("there is no parameter to observe: the layout names none")
    samples = count_samples(batch)

    def vectors(batch: Any) -> dict[str, Array]:
        def scores(leaves: Mapping[str, Array]) -> Array:
            return checked_scores(score(replaced(params, leaves), batch), batch).sum(-1)

        gradients = jax.jacrev(scores)(leaves)
        return {
            path: _reduced(gradient, axes[path], reduce)
            for path, gradient in gradients.items()
        }

    if per == "batch":
        found = vectors(batch)
        # A sum over no samples is no vector.
        return found if samples else {path: v[..., :0, :] for path, v in found.items()}
    single = jax.tree.map(lambda array: array[:, None], batch)
    found = jax.vmap(vectors)(single)
    return {path: _one_block(vectors) for path, vectors in found.items()}


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

    gradients = jax.jacrev(scores)(dict(taps))
    return {path: g.reshape(-1, g.shape[-1]) for path, g in gradients.items()}


@any_ranks
def _reduced(gradient: Array, axes: Axes, reduce: Reduce) -> Array:
    """Return the vectors (*groups, v, n) of gradients (k, *shape)."""
    rows = rgo_core.to_rows(gradient, axes, leading=1, xp=jnp)
    if axes.outputs:
        columns = rgo_core.reduce_outputs(rows.mT, reduce=reduce, xp=jnp)
        rows = columns.mT
    return _one_block(rows)


def _one_block(vectors: Array) -> Array:
    """See blocks (k, ..., v, n) as one (..., k v, n)."""
    together = jnp.moveaxis(vectors, 0, -3)
    return together.reshape(*together.shape[:-3], -1, together.shape[-1])
