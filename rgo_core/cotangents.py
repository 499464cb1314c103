"""What to backpropagate from a network's outputs to get curvature vectors.

A curvature vector of a layer is the gradient, in the layer's weights, of the outputs
weighted by a column of a square root of l''. The columns are what these return.
"""

from typing import Final, Literal

from rgo_core._checks import check_axes, check_choice, check_floating
from rgo_core._logits import are_log_probabilities, check_mask, one_hot
from rgo_core._matrices import identity, widened
from rgo_core._namespace import resolve
from rgo_core._typing import Array, Namespace
from rgo_core.loss_curvature import (
    ground_truth_weights,
    sigmoid_curvature,
    softmax_hessian_root,
    squared_error_curvature,
)

Curvature = Literal["ground-truth", "floored", "exact"]
CURVATURES: Final = ("ground-truth", "floored", "exact")
# What p (1 - p) of the true class counts as at least, for "floored": measured.
LEAST_CURVATURE: Final = 0.1
# Whose l'' is diagonal, and the same whatever the targets.
IndependentLoss = Literal["binary", "squared-error"]
Loss = Literal["cross-entropy", "binary", "squared-error"]
# Of what a fitted sample's probability lacks to 1: below it there is but rounding.
LEAST_MISSING: Final = 1e-4
LOSSES: Final = ("cross-entropy", "binary", "squared-error")


def score_cotangents(
    logits: Array,
    labels: Array,
    *,
    curvature: Curvature = "ground-truth",
    mask: Array | None = None,
    xp: Namespace | None = None,
) -> Array:
    """Return what to backpropagate from the logits, one array a backward pass.

    For ``curvature="ground-truth"`` the single cotangent ``sqrt(p_y (1 - p_y)) e_y``
    of the score ``sum_i sqrt(p_i (1 - p_i)) z_i``; for ``"floored"`` the same, with 0.1
    for a product below it, so that fitted samples count too; for ``"exact"`` the
    c columns of the square root of l''.

    Parameters
    ----------
    logits : array (..., c)
        Or their logarithmic softmax, which many networks return: recognised by
        probabilities that sum to 1 in every row.
    labels : array (...) of integers in 0..c-1
    curvature : {"ground-truth", "floored", "exact"}
    mask : array (c,) or (..., c) of bool, optional
        True for the classes in play.
    xp : namespace, optional
        The array namespace; that of the arrays where None.

    Returns
    -------
    array (k, ..., c)
        k = 1 or c. In float32 at the least: for `jax.vjp` cast to the outputs' dtype.

    Raises
    ------
    TypeError
        If `logits` are not real floating-point, `labels` not integers or `mask` not
        boolean.
    ValueError
        If `labels` do not have the leading shape of `logits`, `mask` does not fit or
        leaves a sample no class, or `curvature` is none of the three.

    Notes
    -----
    The gradient of ``log p_y`` in the logits is ``e_y - p``, whose y-th entry vanishes
    where a sample is fitted. Of log-probabilities the cotangent is therefore
    ``sqrt(p_y / (1 - p_y)) e_y``: backpropagated, its y-th entry is what it is of
    logits, and for two classes either label gives l'' itself. Below 1e-4, where
    ``1 - p_y`` is little but rounding, 1e-4 stands for it as a divisor.

    References
    ----------
    Liu and Liu (2022), equation 12 and appendix B.1.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> rgo_core.score_cotangents(np.zeros((1, 2)), np.asarray([1]))
    array([[[0. , 0.5]]])
    """
    xp = resolve(xp, logits, labels, mask)
    check_choice("curvature", curvature, CURVATURES)
    check_floating("logits", logits, xp)
    true_class = one_hot(logits, labels, xp)
    if curvature == "exact":
        root = softmax_hessian_root(logits, mask=mask, xp=xp)
        return xp.moveaxis(root, -1, 0)
    weights = true_class_weights(logits, labels, curvature, mask=mask, xp=xp)
    weights = weights[..., None]
    return xp.where(true_class, weights, xp.zeros_like(weights))[None, ...]


def true_class_weights(
    logits: Array,
    labels: Array,
    curvature: Literal["ground-truth", "floored"],
    *,
    mask: Array | None,
    xp: Namespace,
) -> Array:
    """Return the weights (...) of the true classes' logits in their curvature's score.

    The only entry of `score_cotangents` that is not zero, without the others.
    """
    least = LEAST_CURVATURE if curvature == "floored" else 0.0
    known = are_log_probabilities(logits, xp)
    logits = widened(logits, xp)
    weights = ground_truth_weights(logits, labels, mask=mask, least=least, xp=xp)
    true_class = one_hot(logits, labels, xp)
    of_class = xp.where(true_class, logits, xp.full_like(logits, -xp.inf))
    missing = 1 - xp.exp(xp.max(of_class, axis=-1))
    missing = xp.where(missing > LEAST_MISSING, missing, LEAST_MISSING)
    return xp.where(known, weights / missing, weights)


def independent_weights(
    outputs: Array,
    *,
    loss: IndependentLoss,
    mask: Array | None = None,
    xp: Namespace | None = None,
) -> Array:
    """Return the root of the diagonal l'' of a loss that is a sum over the outputs.

    ``sqrt(l''_c)``, with ``l'' = p (1 - p)`` for binary cross-entropy and 1 for half
    the squared error. The scores, one for each output, are these times the outputs.

    Parameters
    ----------
    outputs : array (..., c)
        Logits for ``loss="binary"``.
    loss : {"binary", "squared-error"}
    mask : array (c,) or (..., c) of bool, optional
        True for the outputs in play; the others have no curvature.
    xp : namespace, optional
        The array namespace; that of the arrays where None.

    Returns
    -------
    array (..., c)

    Raises
    ------
    TypeError
        If `outputs` are not real floating-point or `mask` is not boolean.
    ValueError
        If `loss` is neither of the two or `mask` does not fit.

    References
    ----------
    Liu and Liu (2022), equation 12.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> rgo_core.independent_weights(np.zeros((1, 2)), loss="binary")
    array([[0.5, 0.5]])
    """
    xp = resolve(xp, outputs, mask)
    check_choice("loss", loss, LOSSES[1:])
    check_floating("outputs", outputs, xp)
    check_axes("outputs", outputs, 1, "(..., c)")
    of = sigmoid_curvature if loss == "binary" else squared_error_curvature
    root = xp.sqrt(of(outputs, xp=xp))
    if mask is None:
        return root
    check_mask(outputs, mask, xp)
    return xp.where(mask, root, xp.zeros_like(root))


def independent_cotangents(
    outputs: Array,
    *,
    loss: IndependentLoss,
    mask: Array | None = None,
    xp: Namespace | None = None,
) -> Array:
    """Return what to backpropagate for a loss that is a sum over the outputs.

    Column c of the root of its diagonal l'': ``sqrt(l''_c) e_c``, with ``l'' = p (1 -
    p)`` for binary cross-entropy and 1 for half the squared error. All but c entries
    of a sample's c^2 are zero: `independent_weights` has those.

    Parameters
    ----------
    outputs : array (..., c)
        Logits for ``loss="binary"``.
    loss : {"binary", "squared-error"}
    mask : array (c,) or (..., c) of bool, optional
        True for the outputs in play; the others have no curvature.
    xp : namespace, optional
        The array namespace; that of the arrays where None.

    Returns
    -------
    array (c, ..., c)
        One cotangent for each backward pass.

    Raises
    ------
    TypeError
        If `outputs` are not real floating-point or `mask` is not boolean.
    ValueError
        If `loss` is neither of the two or `mask` does not fit.

    References
    ----------
    Liu and Liu (2022), equation 12.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> rgo_core.independent_cotangents(np.zeros((1, 2)), loss="binary")
    array([[[0.5, 0. ]],
    <BLANKLINE>
           [[0. , 0.5]]])
    """
    xp = resolve(xp, outputs, mask)
    root = independent_weights(outputs, loss=loss, mask=mask, xp=xp)
    columns = identity(outputs.shape[-1], root, xp)
    lead = (1,) * (outputs.ndim - 1)
    columns = xp.reshape(columns, (columns.shape[0], *lead, columns.shape[-1]))
    return columns * root[None, ...]
