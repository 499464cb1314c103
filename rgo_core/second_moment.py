"""The state that RGO carries from task to task: the sum of g g^T, in float64.

Recursive least squares and this sum are two forms of one thing. With m curvature
vectors g, Algorithm 1 of the paper ends at ``P = (I + H / damping)^-1`` with
``H = sum g g^T``, whatever the order of the vectors. The sum is the better state: it
does not drift, it does not depend on the damping, and two of them merge by addition.
Where n is too large for n x n numbers, or inputs never meet, it is kept in another
form: a sketch or its diagonal. The verbs are the same for all.
"""

from typing import NamedTuple, TypeVar

import numpy as np

from rgo_core._checks import (
    check_axes,
    check_double,
    check_features,
    check_finite,
    check_floating,
    check_integer,
    check_share,
)
from rgo_core._gram import add_gram
from rgo_core._namespace import resolve
from rgo_core._typing import Array, Namespace
from rgo_core.diagonal import DiagonalMoment, observe_diagonal
from rgo_core.sketch import SketchedMoment, merge_sketches, observe_sketch


class SecondMoment(NamedTuple):
    """The uncentred sum of g g^T over all curvature vectors seen."""

    matrix: Array  # (..., n, n) float64
    count: Array  # () int64, vectors seen


Moment = TypeVar("Moment", SecondMoment, DiagonalMoment, SketchedMoment)


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
    check_integer("features", features, 1)
    xp = np if xp is None else xp
    matrix = xp.zeros((*groups, features, features), dtype=xp.float64, device=device)
    check_double("a second moment", matrix, xp)
    return SecondMoment(matrix, xp.zeros((), dtype=xp.int64, device=device))


def observe(
    moment: Moment,
    vectors: Array,
    *,
    share: float = 1.0,
    donate: bool = False,
    xp: Namespace | None = None,
) -> Moment:
    """Add a block of curvature vectors: ``H + sum g g^T / share``.

    Parameters
    ----------
    moment : SecondMoment, DiagonalMoment or SketchedMoment
        Of n features; its leading axes (...) are groups.
    vectors : array (..., r, n)
        One curvature vector a row, of any real floating-point dtype.
    share : float
        The share of the task's samples, in (0, 1], that is observed in all, where only
        a random part of them is: each then stands for ``1 / share``; see `extrapolate`.
    donate : bool
        Whether `moment` may be overwritten: NumPy and PyTorch then add in place.
        PyTorch needs no further memory for it, and takes half the multiplications for
        large blocks on the host. A sketch is always made anew.
    xp : namespace, optional
        The array namespace; that of the arrays where None.

    Returns
    -------
    SecondMoment, DiagonalMoment or SketchedMoment
        A new one of the same form; `moment` is left as it is, unless donated.

    Raises
    ------
    TypeError
        If `vectors` is not real floating-point, or `moment` is not float64 or no second
        moment.
    ValueError
        If the shapes do not fit, `share` is not in (0, 1] or a vector holds NaN or
        infinity. Arrays that JAX is tracing have no values: their finiteness is for the
        caller to check.

    Notes
    -----
    Costs ``r n^2`` multiplications, ``r n`` of a diagonal, ``6 r l n`` of a sketch of l
    rows (which JAX traces once for every l vectors). Each product is formed in float64:
    products of float32 lose what the sum is kept in float64 for. Blocks of at least 128
    vectors make the most of a matrix product.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> rgo_core.observe(rgo_core.empty_moment(2), np.asarray([[1.0, 2.0]])).matrix
    array([[1., 2.],
           [2., 4.]])
    """
    check_moment("moment", moment)
    check_share("share", share)
    state = moment[0]
    xp = resolve(xp, state, vectors)
    check_floating("vectors", vectors, xp)
    check_axes("vectors", vectors, 2, "(..., r, n)")
    check_features("vectors", vectors, -1, state.shape[-1])
    check_double(f"moment.{moment._fields[0]}", state, xp)
    own = 1 if isinstance(moment, DiagonalMoment) else 2
    groups = state.shape[:-own]
    if vectors.shape[:-2] != groups:
        raise ValueError(
            f"vectors must have the leading axes {tuple(groups)} "
            f"of the second moment, got shape {tuple(vectors.shape)}"
        )
    check_finite("vectors", vectors, xp)
    rows = xp.astype(vectors, state.dtype, copy=False)
    if share != 1:
        rows = rows * (1 / float(share)) ** 0.5
    if isinstance(moment, DiagonalMoment):
        return observe_diagonal(moment, rows, donate=donate, xp=xp)
    if isinstance(moment, SketchedMoment):
        return observe_sketch(moment, rows, xp=xp)
    return _observe_dense(moment, rows, donate, xp)


def merge_moments(first: Moment, second: Moment) -> Moment:
    """Add two second moments: those of two tasks, two workers or two checkpoints.

    Parameters
    ----------
    first, second : SecondMoment, DiagonalMoment or SketchedMoment
        Of one form and one shape.

    Returns
    -------
    SecondMoment, DiagonalMoment or SketchedMoment
        Of the same form. Sketches merge within the error that one sketch of all vectors
        may have; their order can change the rows, and not what they guarantee.

    Raises
    ------
    TypeError
        If they are not of one form.
    ValueError
        If they differ in shape.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> one = rgo_core.observe(rgo_core.empty_moment(2), np.ones((1, 2)))
    >>> int(rgo_core.merge_moments(one, one).count)
    2
    """
    check_moment("first", first)
    if type(first) is not type(second):
        raise TypeError(
            "two second moments merge when they are of one form, got a "
            f"{type(first).__name__} and a {type(second).__name__}"
        )
    field = first._fields[0]
    if first[0].shape != second[0].shape:
        raise ValueError(
            f"two second moments merge when their {_PLURALS[field]} have one shape, "
            f"got {tuple(first[0].shape)} and {tuple(second[0].shape)}"
        )
    if isinstance(first, SketchedMoment):
        return merge_sketches(first, second)
    return type(first)(first[0] + second[0], first.count + second.count)


_PLURALS = {"matrix": "matrices", "diagonal": "diagonals", "rows": "rows"}


def _observe_dense(
    moment: SecondMoment, rows: Array, donate: bool, xp: Namespace
) -> SecondMoment:
    count = moment.count + rows.shape[-2]
    if donate:
        return SecondMoment(add_gram(moment.matrix, rows, xp), count)
    return SecondMoment(moment.matrix + rows.mT @ rows, count)


def traces(
    moment: SecondMoment | DiagonalMoment | SketchedMoment, xp: Namespace
) -> Array:
    """Return the trace of H, of each group."""
    if isinstance(moment, SketchedMoment):
        return moment.trace
    if isinstance(moment, DiagonalMoment):
        return xp.sum(moment.diagonal, axis=-1)
    return xp.linalg.trace(moment.matrix)


def check_moment(name: str, moment: object) -> None:
    """Raise TypeError unless `moment` has one of the forms of a second moment."""
    if not isinstance(moment, SecondMoment | DiagonalMoment | SketchedMoment):
        raise TypeError(
            f"{name} must be a SecondMoment, a DiagonalMoment or a SketchedMoment, got "
            f"{type(moment).__name__}"
        )
