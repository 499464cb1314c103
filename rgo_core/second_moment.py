"""The state that RGO carries from task to task: the sum of g g^T, in float64.

Recursive least squares and this sum are two forms of one thing. With m curvature
vectors g, Algorithm 1 of the paper ends at ``P = (I + H / damping)^-1`` with
``H = sum g g^T``, whatever the order of the vectors. The sum is the better state: it
does not drift, it does not depend on the damping, and two of them merge by addition.
"""

from typing import NamedTuple

import numpy as np
from array_api_compat import is_numpy_namespace, is_torch_namespace

from rgo_core._checks import check_axes, check_features, check_finite, check_floating
from rgo_core._namespace import device_of, resolve
from rgo_core._typing import Array, Namespace


class SecondMoment(NamedTuple):
    """The uncentred sum of g g^T over all curvature vectors seen."""

    matrix: Array  # (..., n, n) float64
    count: Array  # () int64, vectors seen


def empty_moment(
    features: int,
    *,
    groups: tuple[int, ...] = (),
    device: object = None,
    xp: Namespace | None = None,
) -> SecondMoment:
    """Return the second moment of no vectors at all.

    Parameters
    ----------
    features : int
        n, the length of a curvature vector.
    groups : tuple of int
        Leading batch axes, for layers whose groups of outputs see different inputs.
    device : optional
        Where the arrays live; the namespace's default where None.
    xp : namespace, optional
        The array namespace; NumPy where None.

    Returns
    -------
    SecondMoment
        Zeros of shape ``(*groups, n, n)`` in float64, and a count of zero.

    Raises
    ------
    ValueError
        If `features` is not a positive integer.
    TypeError
        If the namespace has no float64 (JAX without ``jax_enable_x64``).

    Examples
    --------
    >>> import rgo_core
    >>> rgo_core.empty_moment(3).matrix.shape
    (3, 3)
    """
    if not isinstance(features, int | np.integer) or features < 1:
        raise ValueError(f"features must be an integer >= 1, got {features!r}")
    xp = np if xp is None else xp
    matrix = xp.zeros((*groups, features, features), dtype=xp.float64, device=device)
    _check_double("a second moment", matrix, xp)
    return SecondMoment(matrix, xp.zeros((), dtype=xp.int64, device=device))


def observe(
    moment: SecondMoment,
    vectors: Array,
    *,
    donate: bool = False,
    xp: Namespace | None = None,
) -> SecondMoment:
    """Add a block of curvature vectors: ``H + sum g g^T``.

    Parameters
    ----------
    moment : SecondMoment
        With a matrix of shape (..., n, n).
    vectors : array (..., r, n)
        One curvature vector a row, of any real floating-point dtype.
    donate : bool
        Whether `moment` may be used up: NumPy and PyTorch then add in its memory, and
        PyTorch needs none beside it.
    xp : namespace, optional
        The array namespace; that of the arrays where None.

    Returns
    -------
    SecondMoment
        A new one; `moment` is left as it is, unless donated.

    Raises
    ------
    TypeError
        If `vectors` is not real floating-point, or `moment` is not float64.
    ValueError
        If the shapes do not fit or a vector holds NaN or infinity. Arrays that JAX is
        tracing have no values: their finiteness is for the caller to check.

    Notes
    -----
    Costs ``r n^2`` multiplications. Each product is formed in float64: products of
    float32 lose what the sum is kept in float64 for. Blocks of at least 128 vectors
    make the most of a matrix product.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> rgo_core.observe(rgo_core.empty_moment(2), np.asarray([[1.0, 2.0]])).matrix
    array([[1., 2.],
           [2., 4.]])
    """
    xp = resolve(xp, moment.matrix, vectors)
    check_floating("vectors", vectors, xp)
    check_axes("vectors", vectors, 2, "(..., r, n)")
    check_features("vectors", vectors, -1, moment.matrix.shape[-1])
    _check_double("moment.matrix", moment.matrix, xp)
    if vectors.shape[:-2] != moment.matrix.shape[:-2]:
        raise ValueError(
            f"vectors must have the leading axes {tuple(moment.matrix.shape[:-2])} "
            f"of the second moment, got shape {tuple(vectors.shape)}"
        )
    check_finite("vectors", vectors, xp)
    rows = xp.astype(vectors, moment.matrix.dtype)
    count = moment.count + vectors.shape[-2]
    if donate:
        return SecondMoment(_add_product(moment.matrix, rows, xp), count)
    return SecondMoment(moment.matrix + rows.mT @ rows, count)


def merge(first: SecondMoment, second: SecondMoment) -> SecondMoment:
    """Add two second moments: those of two tasks, two workers or two checkpoints.

    Parameters
    ----------
    first, second : SecondMoment
        With matrices of one shape.

    Returns
    -------
    SecondMoment

    Raises
    ------
    ValueError
        If their matrices differ in shape.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> one = rgo_core.observe(rgo_core.empty_moment(2), np.ones((1, 2)))
    >>> int(rgo_core.merge(one, one).count)
    2
    """
    if first.matrix.shape != second.matrix.shape:
        raise ValueError(
            "two second moments merge when their matrices have one shape, got "
            f"{tuple(first.matrix.shape)} and {tuple(second.matrix.shape)}"
        )
    return SecondMoment(first.matrix + second.matrix, first.count + second.count)


def _add_product(matrix: Array, rows: Array, xp: Namespace) -> Array:
    """Add ``rows^T rows``, in the memory of `matrix` where that can be written to."""
    if is_torch_namespace(xp) and matrix.ndim == 2:
        return matrix.addmm_(rows.mT, rows)
    if is_torch_namespace(xp) or is_numpy_namespace(xp):
        matrix += rows.mT @ rows
        return matrix
    return matrix + rows.mT @ rows


def _check_double(name: str, matrix: Array, xp: Namespace) -> None:
    if matrix.dtype != xp.float64:
        raise TypeError(
            f"{name} must be float64, got {matrix.dtype} on {device_of(matrix)}: "
            "enable it (jax.enable_x64) or keep the second moment in NumPy"
        )
