"""Curvature vectors of a network's parameters, for one batch."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array

import rgo_core
from rgo_core._checks import check_choice
from rgo_core.signs import Means, both_means, choose_mean
from rgo_core.vectors import REDUCES, Reduce
from rgo_jax.checks import (
    checked_scores,
    count_samples,
)
from rgo_jax.layout import Axes, Layout, find_layout, named_leaves, replaced
from rgo_jax.partitions import check_parted
from rgo_jax.ranks import any_ranks
from rgo_jax.shardings import by_compiler
from rgo_jax.varying import varying_with

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
    reduce: Reduce = "uncancelled",
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
        With the samples along the first axis of each. One is given alone: what its
        score takes of others, as of a graph's nodes, is not to be in the batch, which
        holds the indices of its samples then.
    layout : Layout, optional
        `find_layout` of the parameters where None.
    per : {"sample", "batch"}
    reduce : {"mean", "rms", "signs", "uncancelled"}
        Over the outputs; see `rgo_core.curvature_vectors`. By default the mean, and a
        contrast where the batch's cancel, as before a softmax or a layer normalisation:
        the plain ``"mean"`` sees nothing there. Each group, as a layer of a stack, has
        its own.

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
        arrays of `batch` are not all as long, or the score has another shape. With
        ``per="sample"``, of a network that convolves, if `batch` is sharded outside of
        `jax.shard_map`: compiled, as `jax.errors.JaxRuntimeError`.

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
    mapped = samples if per == "sample" else None

    def vectors(batch: Any) -> dict[str, Array | Means]:
        def scores(leaves: Mapping[str, Array]) -> Array:
            given = score(replaced(params, leaves), batch)
            return checked_scores(given, batch, mapped).sum(-1)

        gradients = jax.jacrev(scores)(varying_with(scores, leaves))
        return {
            path: _reduced(gradient, axes[path], reduce)
            for path, gradient in gradients.items()
        }

    def chosen(found: Mapping[str, Array | Means]) -> dict[str, Array]:
        return {path: _chosen(each, axes[path]) for path, each in found.items()}

    found: dict[str, Array]
    if per == "batch":
        found = by_compiler(chosen, vectors(batch))
        # A sum over no samples is no vector.
        return found if samples else {path: v[..., :0, :] for path, v in found.items()}
    check_parted(vectors, batch)
    single = jax.tree.map(lambda array: array[:, None], batch)
    found = by_compiler(chosen, jax.vmap(vectors)(single))
    return {path: _one_block(vectors) for path, vectors in found.items()}


@any_ranks
def _reduced(gradient: Array, axes: Axes, reduce: Reduce) -> Array | Means:
    """Return the vectors (*groups, v, n) of gradients (k, *shape).

    Both kinds of means where one is to be chosen: that is told by all samples together.
    """
    rows = rgo_core.to_rows(gradient, axes, leading=1, xp=jnp)
    if not axes.outputs:
        return _one_block(rows)
    if reduce != "uncancelled":
        return _one_block(rgo_core.reduce_outputs(rows.mT, reduce=reduce, xp=jnp).mT)
    # Each layer of a stack stands before something else.
    means = both_means(rows.mT, jnp, groups=len(axes.groups))
    plain, contrast = _one_block(means.plain.mT), _one_block(means.contrast.mT)
    return means._replace(plain=plain, contrast=contrast)


@any_ranks
def _chosen(vectors: Array | Means, axes: Axes) -> Array:
    if not isinstance(vectors, Means):
        return vectors
    mean: Array = choose_mean(vectors, jnp, groups=len(axes.groups))
    return mean


def _one_block(vectors: Array) -> Array:
    """See blocks (k, ..., v, n) as one (..., k v, n)."""
    together = jnp.moveaxis(vectors, 0, -3)
    return together.reshape(*together.shape[:-3], -1, together.shape[-1])
