"""Means over a layer's outputs that do not cancel: with signs, or with a contrast."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rgo_core._checks import check_integer
from rgo_core._draws import host_generator
from rgo_core._matrices import widened
from rgo_core._namespace import device_of
from rgo_core._typing import Array, Namespace

# Of what unrelated outputs would have, a mean this small is the rounding of one that is
# zero, in bfloat16 too: a softmax or a layer normalisation follows.
CANCELLED = 0.02


def output_signs(outputs: int, *, name: str = "", seed: int = 0) -> NDArray[np.int8]:
    """Draw a sign for each of a layer's outputs.

    With the columns G_j of a gradient, g the mean of s_j G_j and signs drawn alike and
    independently, ``E g g^T = 1/m^2 sum_j G_j G_j^T``: the scale of the plain mean of
    unrelated outputs. Nothing cancels in it, and before a LayerNorm, where the plain
    mean is zero, it sees what there is.

    Parameters
    ----------
    outputs : int
        m.
    name : str
        The layer's, where two layers with equally many outputs need different signs.
    seed : int
        At least 0.

    Returns
    -------
    numpy array (m,) of int8
        Of -1 and 1.

    Raises
    ------
    ValueError
        If `outputs` is below 1, or `seed` below 0.

    Notes
    -----
    NumPy's PCG64, seeded by a `SeedSequence` of the seed, m and the SHA-256 digest of
    the name: the same on every backend and machine.

    Examples
    --------
    >>> import rgo_core
    >>> rgo_core.output_signs(6)
    array([ 1,  1,  1, -1, -1, -1], dtype=int8)
    """
    check_integer("outputs", outputs, 1)
    check_integer("seed", seed, 0)
    bits = host_generator(seed, outputs, name=name).integers(0, 2, size=outputs)
    return (2 * bits - 1).astype(np.int8)


def output_contrast(
    outputs: int, *, name: str = "", seed: int = 0
) -> NDArray[np.float64]:
    """Draw a weight for each of a layer's outputs: all different, of sum zero.

    They are equidistant, ``(2 r_j - m + 1) sqrt(3 / (m (m + 1)))`` with the ranks r a
    random permutation of 0 to m - 1. For columns G_j of a gradient that sum to zero,
    ``g = 1/m sum_j s_j G_j`` has ``E g g^T = 1/m^2 sum_j G_j G_j^T``, as signs have it
    for all columns; and where two columns alone are not zero, as behind a softmax over
    the two largest of many outputs, g is not zero, as it is with two equal signs.

    Parameters
    ----------
    outputs : int
        m, at least 1.
    name, seed : str, int
        What is drawn by, as for `output_signs`.

    Returns
    -------
    numpy array (m,) of float64

    Raises
    ------
    ValueError
        As `output_signs` does.

    Notes
    -----
    Drawn as `output_signs` are.

    Examples
    --------
    >>> import rgo_core
    >>> rgo_core.output_contrast(2).round(4)
    array([ 0.7071, -0.7071])
    """
    check_integer("outputs", outputs, 1)
    check_integer("seed", seed, 0)
    ranks = host_generator(seed, outputs, name=name).permutation(outputs)
    steps: NDArray[np.float64] = (2.0 * ranks - outputs + 1) * np.sqrt(
        3 / (outputs * (outputs + 1))
    )
    return steps


def weighted_mean(output_gradients: Array, weights: Array, xp: Namespace) -> Array:
    """Return the mean over the last axis with weights (m,), as (..., 1)."""
    placed = xp.asarray(weights, device=device_of(output_gradients))
    weighted = output_gradients * xp.astype(placed, output_gradients.dtype, copy=False)
    return xp.mean(weighted, axis=-1, keepdims=True)


class Means(NamedTuple):
    """Both means of output gradients, and what tells which of them to take."""

    plain: Array  # (..., 1)
    contrast: Array  # (..., 1)
    # Of m unrelated outputs the squares of m means add up to those of all entries.
    found: Array  # (groups...)
    expected: Array  # (groups...)


def both_means(output_gradients: Array, xp: Namespace, *, groups: int = 0) -> Means:
    """Return the mean over the last axis, plain and with a contrast.

    The sums that tell them apart are those of each group, as a layer of a stack, of
    which there are as many axes before the last two.
    """
    outputs = output_gradients.shape[-1]
    plain = xp.mean(output_gradients, axis=-1, keepdims=True)
    contrast = weighted_mean(output_gradients, output_contrast(outputs), xp)
    last = output_gradients.ndim - 2
    of_groups = range(last - groups, last)
    summed = tuple(i for i in range(output_gradients.ndim) if i not in of_groups)
    totals, each = outputs * widened(plain, xp), widened(output_gradients, xp)
    found = xp.sum(totals * totals, axis=summed)
    expected = xp.sum(each * each, axis=summed)
    return Means(plain, contrast, found, expected)


def choose_mean(means: Means, xp: Namespace, *, groups: int = 0) -> Array:
    """Return the plain mean, or that with a contrast where it is but rounding.

    By the sums of `found` and `expected`, which may be of several parts, the axes
    before those of the groups; a group's rows and inputs are the last two of a mean.
    Where these leave the range of their dtype it is the sum of both means.
    """
    parts = tuple(range(means.found.ndim - groups))
    found, expected = means.found, means.expected
    if parts:
        found, expected = (xp.sum(each, axis=parts) for each in (found, expected))
    cancelled = found <= CANCELLED**2 * expected
    # Squares beyond the range of their dtype do not tell, and either mean may be zero.
    least = float(xp.finfo(expected.dtype).smallest_normal)
    lost = (expected < least) | xp.isinf(expected)
    if groups:
        cancelled, lost = cancelled[..., None, None], lost[..., None, None]
    chosen = xp.where(cancelled, means.contrast, means.plain)
    return xp.where(lost, means.plain + means.contrast, chosen)


def uncancelled_mean(output_gradients: Array, xp: Namespace) -> Array:
    """Return the mean over the last axis, with a contrast where it is but rounding."""
    return choose_mean(both_means(output_gradients, xp), xp)
