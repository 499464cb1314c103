"""The curvature of a loss in a network's outputs, and what to backpropagate for it.

`softmax_hessian` is the l'' of the paper's equation 13. A curvature vector of a layer
is the gradient, in the layer's weights, of the outputs weighted by a column of a
square root of l''. The columns are what `score_cotangents` returns.
"""

from typing import Final, Literal

from rgo_core._checks import check_axes, check_choice, check_floating
from rgo_core._namespace import device_of, resolve
from rgo_core._typing import Array, Namespace

Curvature = Literal["ground-truth", "exact"]
# Whose l'' is diagonal, and the same whatever the targets.
IndependentLoss = Literal["binary", "squared-error"]
Loss = Literal["cross-entropy", "binary", "squared-error"]
LOSSES: Final = ("cross-entropy", "binary", "squared-error")


def softmax_hessian(
    logits: Array, *, mask: Array | None = None, xp: Namespace | None = None
) -> Array:
    """Return l'' of softmax cross-entropy: ``diag(p) - p p^T``.

    Parameters
    ----------
    logits : array (..., c)
    mask : array (c,) or (..., c) of bool, optional
        True for the classes in play; the others have probability zero.
    xp : namespace, optional
        The array namespace; that of the arrays where None.

    Returns
    -------
    array (..., c, c)
        Positive semi-definite: the constant vector has no curvature.

    Raises
    ------
    TypeError
        If `logits` are not real floating-point or `mask` is not boolean.

    References
    ----------
    Liu and Liu (2022), equation 13.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> rgo_core.softmax_hessian(np.zeros(2))
    array([[ 0.25, -0.25],
           [-0.25,  0.25]])
    """
    root = softmax_hessian_root(logits, mask=mask, xp=xp)
    return root @ root.mT


def softmax_hessian_root(
    logits: Array, *, mask: Array | None = None, xp: Namespace | None = None
) -> Array:
    """Return S with ``S S^T = diag(p) - p p^T``; column c is ``sqrt(p_c) (e_c - p)``.

    Any square root gives the same sum of g g^T, and this one needs no
    eigendecomposition. It is not symmetric.

    Parameters
    ----------
    logits : array (..., c)
    mask : array (c,) or (..., c) of bool, optional
        True for the classes in play; the others have zero rows and columns.
    xp : namespace, optional
        The array namespace; that of the arrays where None.

    Returns
    -------
    array (..., c, c)

    Raises
    ------
    TypeError
        If `logits` are not real floating-point or `mask` is not boolean.

    References
    ----------
    Liu and Liu (2022), equations 12 and 13.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> root = rgo_core.softmax_hessian_root(np.zeros(2))
    >>> bool(np.allclose(root @ root.T, rgo_core.softmax_hessian(np.zeros(2))))
    True
    """
    xp = resolve(xp, logits, mask)
    p = _softmax(logits, mask, xp)
    identity = xp.eye(p.shape[-1], dtype=p.dtype, device=device_of(p))
    return (identity - p[..., :, None]) * xp.sqrt(p)[..., None, :]


def ground_truth_weights(
    logits: Array,
    labels: Array,
    *,
    mask: Array | None = None,
    xp: Namespace | None = None,
) -> Array:
    """Return ``sqrt(p_y (1 - p_y))``, the root of the true class's diagonal of l''.

    Parameters
    ----------
    logits : array (..., c)
    labels : array (...) of integers in 0..c-1
    mask : array (c,) or (..., c) of bool, optional
        True for the classes in play.
    xp : namespace, optional
        The array namespace; that of the arrays where None.

    Returns
    -------
    array (...)
        ``1 - p_y`` is the sum of the other classes' probabilities, so that it does not
        cancel to zero for a confident network.

    Raises
    ------
    TypeError
        If `logits` are not real floating-point, `labels` not integers or `mask` not
        boolean.
    ValueError
        If `labels` do not have the leading shape of `logits`.

    References
    ----------
    Liu and Liu (2022), appendix B.1.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> rgo_core.ground_truth_weights(np.zeros((1, 2)), np.asarray([1]))
    array([0.5])
    """
    xp = resolve(xp, logits, labels, mask)
    true_class = _one_hot(logits, labels, xp)
    p = _softmax(logits, mask, xp)
    zero = xp.zeros_like(p)
    of_truth = xp.sum(xp.where(true_class, p, zero), axis=-1)
    of_others = xp.sum(xp.where(true_class, zero, p), axis=-1)
    return xp.sqrt(of_truth * of_others)


def sigmoid_curvature(logits: Array, *, xp: Namespace | None = None) -> Array:
    """Return l'' of binary cross-entropy, output by output: ``p (1 - p)``.

    Parameters
    ----------
    logits : array
    xp : namespace, optional
        The array namespace; that of the array where None.

    Returns
    -------
    array
        Of the same shape: l'' is diagonal, and this is its diagonal.

    Raises
    ------
    TypeError
        If `logits` are not real floating-point.

    References
    ----------
    Liu and Liu (2022), equation 13, for independent binary outputs.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> rgo_core.sigmoid_curvature(np.zeros(1))
    array([0.25])
    """
    xp = resolve(xp, logits)
    check_floating("logits", logits, xp)
    decay = xp.exp(-xp.abs(logits))  # even in the logits, and cannot overflow
    return decay / (1 + decay) ** 2


def squared_error_curvature(outputs: Array, *, xp: Namespace | None = None) -> Array:
    """Return l'' of half the squared error ``|z - y|^2 / 2``: one for each output.

    Parameters
    ----------
    outputs : array
    xp : namespace, optional
        The array namespace; that of the array where None.

    Returns
    -------
    array
        Ones of the same shape: the diagonal of l''.

    Raises
    ------
    TypeError
        If `outputs` are not real floating-point.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> rgo_core.squared_error_curvature(np.zeros(2))
    array([1., 1.])
    """
    xp = resolve(xp, outputs)
    check_floating("outputs", outputs, xp)
    return xp.ones_like(outputs)


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
    of the score ``sum_i sqrt(p_i (1 - p_i)) z_i``; for ``"exact"`` the c columns of
    the square root of l''.

    Parameters
    ----------
    logits : array (..., c)
    labels : array (...) of integers in 0..c-1
    curvature : {"ground-truth", "exact"}
    mask : array (c,) or (..., c) of bool, optional
        True for the classes in play.
    xp : namespace, optional
        The array namespace; that of the arrays where None.

    Returns
    -------
    array (k, ..., c)
        k = 1 or c.

    Raises
    ------
    TypeError
        If `logits` are not real floating-point, `labels` not integers or `mask` not
        boolean.
    ValueError
        If `labels` do not have the leading shape of `logits`, or `curvature` is
        neither of the two.

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
    check_choice("curvature", curvature, ("ground-truth", "exact"))
    true_class = _one_hot(logits, labels, xp)
    if curvature == "exact":
        root = softmax_hessian_root(logits, mask=mask, xp=xp)
        return xp.moveaxis(root, -1, 0)
    weights = ground_truth_weights(logits, labels, mask=mask, xp=xp)
    return xp.where(true_class, weights[..., None], xp.zeros_like(logits))[None, ...]


def independent_cotangents(
    outputs: Array,
    *,
    loss: IndependentLoss,
    mask: Array | None = None,
    xp: Namespace | None = None,
) -> Array:
    """Return what to backpropagate for a loss that is a sum over the outputs.

    Column c of the root of its diagonal l'': ``sqrt(l''_c) e_c``, with ``l'' = p (1 -
    p)`` for binary cross-entropy and 1 for half the squared error.

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
    check_choice("loss", loss, LOSSES[1:])
    check_floating("outputs", outputs, xp)
    check_axes("outputs", outputs, 1, "(..., c)")
    of = sigmoid_curvature if loss == "binary" else squared_error_curvature
    root = xp.sqrt(of(outputs, xp=xp))
    if mask is not None:
        _check_mask(outputs, mask, xp)
        root = xp.where(mask, root, xp.zeros_like(root))
    columns = xp.eye(outputs.shape[-1], dtype=root.dtype, device=device_of(root))
    lead = (1,) * (outputs.ndim - 1)
    columns = xp.reshape(columns, (columns.shape[0], *lead, columns.shape[-1]))
    return columns * root[None, ...]


def _softmax(logits: Array, mask: Array | None, xp: Namespace) -> Array:
    check_floating("logits", logits, xp)
    check_axes("logits", logits, 1, "(..., c)")
    if mask is not None:
        _check_mask(logits, mask, xp)
        logits = xp.where(mask, logits, xp.full_like(logits, -xp.inf))
    raised = xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))
    return raised / xp.sum(raised, axis=-1, keepdims=True)


def _check_mask(logits: Array, mask: Array, xp: Namespace) -> None:
    if not xp.isdtype(mask.dtype, "bool"):
        raise TypeError(f"mask must be an array of bool, got dtype {mask.dtype}")
    if mask.shape[-1:] != logits.shape[-1:]:
        raise ValueError(
            f"mask must have the {logits.shape[-1]} classes of the logits, "
            f"got shape {tuple(mask.shape)}"
        )
    lead = zip(mask.shape[-2::-1], logits.shape[-2::-1], strict=False)
    if mask.ndim > logits.ndim or any(m not in (1, n) for m, n in lead):
        raise ValueError(
            "mask must be one for all samples, or one for each of logits of shape "
            f"{tuple(logits.shape)}, got shape {tuple(mask.shape)}"
        )


def _one_hot(logits: Array, labels: Array, xp: Namespace) -> Array:
    if not xp.isdtype(labels.dtype, "integral"):
        raise TypeError(f"labels must be integers, got dtype {labels.dtype}")
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"labels must have shape {tuple(logits.shape[:-1])} for logits of shape "
            f"{tuple(logits.shape)}, whose classes lie along the last axis, got "
            f"{tuple(labels.shape)}"
        )
    # The labels' own dtype may not count to the last class: 8 bits would begin again.
    classes = xp.arange(logits.shape[-1], device=device_of(labels))
    wide = xp.astype(labels, classes.dtype, copy=False)
    return wide[..., None] == classes
