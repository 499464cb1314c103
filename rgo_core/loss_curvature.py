"""The curvature l'' of a loss in a network's outputs: the paper's equation 13."""

from rgo_core._checks import check_floating
from rgo_core._logits import one_hot, softmax
from rgo_core._matrices import identity
from rgo_core._namespace import resolve
from rgo_core._typing import Array, Namespace

# p (1 - p) at p = 1/2.
MOST_CURVATURE = 0.25


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
        Positive semi-definite: the constant vector has no curvature. In float32 at the
        least.

    Raises
    ------
    TypeError
        If `logits` are not real floating-point or `mask` is not boolean.
    ValueError
        If `mask` does not fit or leaves a sample no class.

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
        In float32 at the least.

    Raises
    ------
    TypeError
        If `logits` are not real floating-point or `mask` is not boolean.
    ValueError
        If `mask` does not fit or leaves a sample no class.

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
    p = softmax(logits, mask, xp)
    centred = identity(p.shape[-1], p, xp) - p[..., :, None]
    return centred * xp.sqrt(p)[..., None, :]


def ground_truth_weights(
    logits: Array,
    labels: Array,
    *,
    mask: Array | None = None,
    least: float = 0.0,
    xp: Namespace | None = None,
) -> Array:
    """Return ``sqrt(p_y (1 - p_y))``, the root of the true class's diagonal of l''.

    Parameters
    ----------
    logits : array (..., c)
    labels : array (...) of integers in 0..c-1
    mask : array (c,) or (..., c) of bool, optional
        True for the classes in play.
    least : float
        What ``p_y (1 - p_y)`` counts as at least, in 0..1/4, its largest value, for a
        class in play. 0 is the paper's.
    xp : namespace, optional
        The array namespace; that of the arrays where None.

    Returns
    -------
    array (...)
        ``1 - p_y`` is the sum of the other classes' probabilities, so that it does not
        cancel to zero for a confident network. In float32 at the least.

    Raises
    ------
    TypeError
        If `logits` are not real floating-point, `labels` not integers or `mask` not
        boolean.
    ValueError
        If `labels` do not have the leading shape of `logits`, `mask` does not fit or
        leaves a sample no class, or `least` lies outside of 0..1/4.

    Notes
    -----
    l'' is that of a point. Of a sample that the network has fitted it is next to
    nothing, and grows again along the way that another task would lead it: a `least`
    stands for what is met there.

    References
    ----------
    Liu and Liu (2022), appendix B.1, for ``least=0``.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> rgo_core.ground_truth_weights(np.zeros((1, 2)), np.asarray([1]))
    array([0.5])
    """
    xp = resolve(xp, logits, labels, mask)
    if not 0 <= least <= MOST_CURVATURE:
        raise ValueError(f"least must lie in 0..{MOST_CURVATURE}, got {least}")
    true_class = one_hot(logits, labels, xp)
    p = softmax(logits, mask, xp)
    zero = xp.zeros_like(p)
    of_truth = xp.sum(xp.where(true_class, p, zero), axis=-1)
    of_others = xp.sum(xp.where(true_class, zero, p), axis=-1)
    found = of_truth * of_others
    if least:
        in_play = true_class if mask is None else true_class & mask
        raised = xp.where(found > least, found, xp.full_like(found, least))
        found = xp.where(xp.any(in_play, axis=-1), raised, found)
    return xp.sqrt(found)


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
