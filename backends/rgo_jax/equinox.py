"""Feature encoding as a module of Equinox."""

import equinox as eqx
from jax import Array

from rgo_jax.encoding import Encoding, encode, make_encoding


class FeatureEncoding(eqx.Module):
    """A layer without parameters that permutes channels by the task.

    Its arrays are integers: ``eqx.is_inexact_array`` leaves them out of what is
    trained. Acts on one sample, as Equinox's layers do, channels first.

    Parameters
    ----------
    width : int
    tasks : int
        How many tasks there may be.
    name : str
        Tells layers of one width apart.
    seed : int
    axis : int
        Of the channels.

    Raises
    ------
    ValueError
        As `rgo_jax.make_encoding` and `rgo_jax.encode` do.

    References
    ----------
    Liu and Liu, "Continual Learning with Recursive Gradient Optimization", ICLR 2022,
    section 4.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from rgo_jax.equinox import FeatureEncoding
    >>> FeatureEncoding(4, tasks=2, name="hidden")(jnp.arange(4.0), 1)
    Array([0., 1., 3., 2.], dtype=float32)
    """

    encoding: Encoding
    axis: int = eqx.field(static=True)

    def __init__(
        self, width: int, *, tasks: int, name: str, seed: int = 0, axis: int = 0
    ) -> None:
        self.encoding = make_encoding(width, tasks=tasks, name=name, seed=seed)
        self.axis = axis

    def __call__(self, features: Array, task: int | Array) -> Array:
        """Return the features in the order of the task."""
        return encode(features, self.encoding, task, axis=self.axis)
