"""Curvature vectors of a layer, from its inputs and its output gradients.

A layer's weights (n x m) have the per-sample gradient ``X_i^T D_i``: X_i holds the
inputs of sample i, one position a row (one row for a linear layer, one patch a row
for a convolution), D_i the gradient of a score in the outputs. A curvature vector has
length n, so that the m outputs are reduced.
"""

from typing import Literal

from rgo_core._checks import check_axes, check_choice, check_floating
from rgo_core._namespace import resolve
from rgo_core._typing import Array, Namespace
from rgo_core.signs import output_signs, uncancelled_mean, weighted_mean

Reduce = Literal["mean", "rms", "signs", "uncancelled"]
Per = Literal["sample", "batch", "position"]
REDUCES: tuple[Reduce, ...] = ("mean", "rms", "signs", "uncancelled")
PERS: tuple[Per, ...] = ("sample", "batch", "position")


def curvature_vectors(
    inputs: Array,
    output_gradients: Array,
    *,
    per: Per = "sample",
    reduce: Reduce = "mean",
    signs: Array | None = None,
    xp: Namespace | None = None,
) -> Array:
    """Return vectors g whose sum of g g^T is the layer's curvature.

    With ``G_ik = X_i^T D_ik`` (n x m) for sample i and cotangent k, the vectors are,
    for ``reduce="mean"``, the means of G_ik over its m columns; for ``"rms"``, the
    columns themselves over sqrt(m), so that ``sum g g^T`` is the average of the m
    outputs' own sums and nothing cancels; for ``"signs"``, their means with the signs
    of the outputs, see `output_signs`; for ``"uncancelled"`` the plain means, and those
    with the weights of `output_contrast` where they cancel to rounding, as before a
    softmax or a layer normalisation, where D sums to zero over the outputs.
    ``per="batch"`` sums G_ik over the samples first, ``per="position"`` takes each
    position for a sample, so that none cancel.

    Parameters
    ----------
    inputs : array (..., b, p, n)
        X: b samples, p positions (1 for a linear layer), n features.
    output_gradients : array (..., k, b, p, m)
        D: for each of k cotangents, the gradient in the m outputs.
    per : {"sample", "batch", "position"}
    reduce : {"mean", "rms", "signs", "uncancelled"}
    signs : array (m,), optional
        For ``reduce="signs"``: those of `output_signs` of m where None.
    xp : namespace, optional
        The array namespace; that of the arrays where None.

    Returns
    -------
    array (..., v, n)
        In the wider dtype of the two, float32 at the least. As few as the sum allows: b
        where every sample has one position, for then all its vectors are multiples of
        its input, and so ``b p`` for ``per="position"``; else ``k b m`` (rms) or ``k
        b``, with b = 1 for ``per="batch"``.

    Raises
    ------
    TypeError
        If an array is not real floating-point.
    ValueError
        If shapes do not fit or an option is not one of those listed.

    Notes
    -----
    Costs ``k b p (n + m)`` multiplications for the mean, ``k b p n m`` for the root
    mean square of more than one position.

    References
    ----------
    Liu and Liu (2022), equation 12, appendix B.1 (``per="batch"``, ``reduce="mean"``).
    Eschenhagen et al., "Kronecker-Factored Approximate Curvature for Modern Neural
    Network Architectures", NeurIPS 2023: ``per="position"`` is their "expand",
    ``per="sample"``, which sums over positions, their "reduce".

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> inputs = np.asarray([[[1.0, 2.0]], [[3.0, 4.0]]])
    >>> gradients = np.asarray([[[[1.0, 3.0]], [[0.0, 1.0]]]])
    >>> rgo_core.curvature_vectors(inputs, gradients)
    array([[2. , 4. ],
           [1.5, 2. ]])
    """
    xp = resolve(xp, inputs, output_gradients)
    check_choice("per", per, PERS)
    check_choice("reduce", reduce, REDUCES)
    check_floating("inputs", inputs, xp)
    check_floating("output_gradients", output_gradients, xp)
    check_axes("inputs", inputs, 3, "(..., b, p, n)")
    check_axes("output_gradients", output_gradients, 4, "(..., k, b, p, m)")
    shape = output_gradients.shape
    if (*shape[:-4], *shape[-3:-1]) != tuple(inputs.shape[:-1]):
        raise ValueError(
            "output_gradients (..., k, b, p, m) must have the leading axes, samples "
            f"and positions of inputs {tuple(inputs.shape)}, got {tuple(shape)}"
        )
    # In half precision the products of small numbers would be zero.
    dtype = xp.result_type(inputs.dtype, output_gradients.dtype, xp.float32)
    inputs = _samples(xp.astype(inputs, dtype, copy=False), per, xp)
    output_gradients = _samples(xp.astype(output_gradients, dtype, copy=False), per, xp)
    columns = reduce_outputs(output_gradients, reduce=reduce, signs=signs, xp=xp)
    if inputs.shape[-2] == 1:
        weights = xp.sqrt(xp.sum(columns**2, axis=(-4, -2, -1)))
        return inputs[..., 0, :] * weights[..., None]
    vectors = columns.mT @ inputs[..., None, :, :, :]  # (..., k, b, columns, n)
    return xp.reshape(vectors, (*inputs.shape[:-3], -1, inputs.shape[-1]))


def reduce_outputs(
    output_gradients: Array,
    *,
    reduce: Reduce = "mean",
    signs: Array | None = None,
    xp: Namespace | None = None,
) -> Array:
    """Return the columns whose products with the inputs are curvature vectors.

    The first half of `curvature_vectors`, for one who forms ``X_i^T C_ik`` without the
    patches of a convolution: the mean of D over the m outputs for ``reduce="mean"``,
    with a sign for each for ``"signs"``, all of them over sqrt(m) for ``"rms"``; for
    ``"uncancelled"`` the mean, or with the weights of `output_contrast` where that of
    the whole array is rounding.

    Parameters
    ----------
    output_gradients : array (..., m)
        D: the gradient of a score in the m outputs.
    reduce : {"mean", "rms", "signs", "uncancelled"}
    signs : array (m,), optional
        For ``reduce="signs"``, numbers -1 and 1: those of `output_signs` of m where
        None.
    xp : namespace, optional
        The array namespace; that of the array where None.

    Returns
    -------
    array (..., c)
        c is m for ``"rms"``, else 1.

    Raises
    ------
    TypeError
        If the array is not real floating-point.
    ValueError
        If `reduce` is none of those listed, or `signs` are not m, or for another.

    References
    ----------
    Liu and Liu (2022), equation 12 (``reduce="mean"``).

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> rgo_core.reduce_outputs(np.asarray([[1.0, 3.0]]))
    array([[2.]])
    """
    xp = resolve(xp, output_gradients)
    check_choice("reduce", reduce, REDUCES)
    check_floating("output_gradients", output_gradients, xp)
    _check_signs(signs, reduce, output_gradients)
    if reduce == "mean":
        return xp.mean(output_gradients, axis=-1, keepdims=True)
    if reduce == "rms":
        return output_gradients / output_gradients.shape[-1] ** 0.5
    if reduce == "uncancelled":
        return uncancelled_mean(output_gradients, xp)
    if signs is None:
        signs = output_signs(output_gradients.shape[-1])
    return weighted_mean(output_gradients, signs, xp)


def bias_vectors(
    output_gradients: Array, *, per: Per = "sample", xp: Namespace | None = None
) -> Array:
    """Return the curvature vectors of a bias: its gradients, without a mean.

    Parameters
    ----------
    output_gradients : array (k, b, p, m)
        For each of k cotangents, the gradient in the m outputs at p positions of b
        samples.
    per : {"sample", "batch", "position"}
    xp : namespace, optional
        The array namespace; that of the array where None.

    Returns
    -------
    array (v, m)
        v is ``k b``, k for ``per="batch"``, or ``k b p`` for ``per="position"``.

    Raises
    ------
    TypeError
        If the array is not real floating-point.
    ValueError
        If the array has other than four axes or `per` is none of the three.

    References
    ----------
    Liu and Liu (2022), appendix B.2, where a bias counts as a vector of its own.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> rgo_core.bias_vectors(np.ones((1, 2, 3, 1)))
    array([[3.],
           [3.]])
    """
    xp = resolve(xp, output_gradients)
    check_choice("per", per, PERS)
    check_floating("output_gradients", output_gradients, xp)
    if output_gradients.ndim != 4:
        raise ValueError(
            "output_gradients must have shape (k, b, p, m), "
            f"got {tuple(output_gradients.shape)}"
        )
    gradients = output_gradients
    if per != "position":
        gradients = xp.sum(gradients, axis=(1, 2) if per == "batch" else 2)
    return xp.reshape(gradients, (-1, output_gradients.shape[-1]))


def _samples(array: Array, per: Per, xp: Namespace) -> Array:
    """See samples (..., b, p, f) as one (..., 1, b p, f), or as b p of one position."""
    if per == "sample":
        return array
    *leading, samples, positions, features = array.shape
    rows = samples * positions
    seen = (1, rows) if per == "batch" else (rows, 1)
    return xp.reshape(array, (*leading, *seen, features))


def _check_signs(signs: Array | None, reduce: Reduce, gradients: Array) -> None:
    if signs is None:
        return
    if reduce != "signs":
        raise ValueError(f'signs are for reduce="signs", got reduce={reduce!r}')
    if tuple(signs.shape) != tuple(gradients.shape[-1:]):
        raise ValueError(
            f"signs must have shape ({gradients.shape[-1]},), one for each output, "
            f"got {tuple(signs.shape)}"
        )
