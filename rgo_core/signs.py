"""The signs of ``reduce="signs"``: one fixed sketch of a layer's outputs."""

import numpy as np
from numpy.typing import NDArray

from rgo_core._checks import check_integer
from rgo_core._draws import host_generator
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
        The layer's, where two layers of as many outputs shall have different signs.
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


def signed_mean(output_gradients: Array, signs: Array | None, xp: Namespace) -> Array:
    """Return the mean over the last axis of outputs with signs, as (..., 1)."""
    if signs is None:
        drawn = output_signs(output_gradients.shape[-1])
        signs = xp.asarray(drawn, device=device_of(output_gradients))
    signed = output_gradients * xp.astype(signs, output_gradients.dtype, copy=False)
    return xp.mean(signed, axis=-1, keepdims=True)


def uncancelled_mean(output_gradients: Array, xp: Namespace) -> Array:
    """Return the mean over the last axis, that with signs where it is but rounding."""
    mean = xp.mean(output_gradients, axis=-1, keepdims=True)
    # Of m unrelated outputs the squares of m means add up to those of all entries.
    found = output_gradients.shape[-1] ** 2 * xp.sum(mean * mean)
    expected = xp.sum(output_gradients * output_gradients)
    cancelled = found <= CANCELLED**2 * expected
    return xp.where(cancelled, signed_mean(output_gradients, None, xp), mean)
