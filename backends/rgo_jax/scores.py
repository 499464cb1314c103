"""Scores of a network's outputs, whose gradients are the curvature vectors."""

import jax
import jax.numpy as jnp
from jax import Array

import rgo_core
from rgo_core.cotangents import Curvature, IndependentLoss
from rgo_jax.checks import (
    as_array,
    check_labels,
    check_numbers,
    warn_of_probabilities,
)
from rgo_jax.ranks import any_ranks


@any_ranks
def softmax_score(
    logits: Array,
    labels: Array,
    *,
    curvature: Curvature = "ground-truth",
    mask: Array | None = None,
) -> Array:
    """Return the score whose gradient is the curvature vector of cross-entropy.

    ``sqrt(p_i (1 - p_i)) z_i`` for sample i, z_i the logit of its class and p_i the
    probability, the root taken as constant; for ``"floored"`` with 0.1 in place of a
    smaller product; for ``"exact"`` one score for each column of the square root of
    l''.

    Parameters
    ----------
    logits : array (b, c)
    labels : array (b,) of integers
    curvature : {"ground-truth", "floored", "exact"}
    mask : array (c,) of bool, optional
        True for the classes in play.

    Returns
    -------
    array (k, b)
        k = 1, or c for ``"exact"``.

    Raises
    ------
    TypeError
        If `labels` or `mask` is no array, or as `rgo_core.score_cotangents` does.
    ValueError
        As `rgo_core.score_cotangents` does, or if a logit is NaN or a label of no class
        in play. Under a JAX transformation values cannot be checked, and the
        ground-truth score of such a label is 0.

    Warns
    -----
    UserWarning
        If concrete logits look like probabilities.

    References
    ----------
    Liu and Liu (2022), equation 12 and appendix B.1.

    Examples
    --------
    >>> import jax.numpy as jnp, rgo_jax
    >>> rgo_jax.softmax_score(jnp.asarray([[2.0, 2.0]]), jnp.asarray([1]))
    Array([[1.]], dtype=float32)
    """
    logits, labels = as_array("logits", logits), as_array("labels", labels)
    mask = None if mask is None else as_array("mask", mask)
    cotangents = rgo_core.score_cotangents(
        jax.lax.stop_gradient(logits), labels, curvature=curvature, mask=mask, xp=jnp
    )
    check_numbers(logits)
    check_labels(labels, logits.shape[-1], mask)
    warn_of_probabilities(logits, one=True)
    return _weighted(cotangents, logits)


def binary_score(logits: Array, *, mask: Array | None = None) -> Array:
    """Return the scores whose gradients are the curvature vectors of binary losses.

    ``sqrt(p_c (1 - p_c)) z_c``, one for each output, the root taken as constant; for
    binary cross-entropy of logits, summed over the outputs.

    Parameters
    ----------
    logits : array (b, c)
    mask : array (c,) of bool, optional
        True for the outputs in play.

    Returns
    -------
    array (c, b)

    Raises
    ------
    TypeError
        If `logits` or `mask` is no array, or as `rgo_core.independent_weights` does.
    ValueError
        As `rgo_core.independent_weights` does, or if a logit is NaN, which cannot be
        checked under a JAX transformation.

    Warns
    -----
    UserWarning
        If concrete logits look like probabilities.

    References
    ----------
    Liu and Liu (2022), equation 12.

    Examples
    --------
    >>> import jax.numpy as jnp, rgo_jax
    >>> logits = jnp.asarray([[2.0, 2.0]])
    >>> rgo_jax.binary_score(logits, mask=jnp.asarray([True, False])).round(3)
    Array([[0.648],
           [0.   ]], dtype=float32)
    """
    return _independent_score(logits, "binary", mask)


def squared_error_score(outputs: Array, *, mask: Array | None = None) -> Array:
    """Return the scores whose gradients are the curvature vectors of regression.

    Each output itself, for half the squared error, summed over the outputs.

    Parameters
    ----------
    outputs : array (b, c)
    mask : array (c,) of bool, optional
        True for the outputs in play.

    Returns
    -------
    array (c, b)

    Raises
    ------
    TypeError
        If `outputs` or `mask` is no array, or as `rgo_core.independent_weights`
        does.
    ValueError
        As `rgo_core.independent_weights` does, or if an output is NaN, which cannot
        be checked under a JAX transformation.

    References
    ----------
    Liu and Liu (2022), equation 12.

    Examples
    --------
    >>> import jax.numpy as jnp, rgo_jax
    >>> rgo_jax.squared_error_score(jnp.asarray([[1.0, 3.0]]))
    Array([[1.],
           [3.]], dtype=float32)
    """
    return _independent_score(outputs, "squared-error", mask)


@any_ranks
def _independent_score(
    outputs: Array, loss: IndependentLoss, mask: Array | None
) -> Array:
    outputs = as_array("outputs", outputs)
    mask = None if mask is None else as_array("mask", mask)
    weights = rgo_core.independent_weights(
        jax.lax.stop_gradient(outputs), loss=loss, mask=mask, xp=jnp
    )
    check_numbers(outputs)
    if loss == "binary":
        warn_of_probabilities(outputs, one=False)
    return jnp.moveaxis(_products(weights, outputs), -1, 0)


def _weighted(cotangents: Array, outputs: Array) -> Array:
    return _products(cotangents, outputs).sum(-1)


def _products(weights: Array, outputs: Array) -> Array:
    # An output out of play may be -inf, and zero times that is NaN.
    return weights * jnp.where(weights == 0, 0, outputs)
