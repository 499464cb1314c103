"""Feature encoding as a module of Flax nnx."""

from flax import nnx
from jax import Array

from rgo_jax.encoding import Encoding, encode, make_encoding


class EncodingVariable(nnx.Variable[Array]):
    """The permutations of a layer: no parameters, so that `nnx.Param` leaves them."""


class FeatureEncoding(nnx.Module):
    """A layer without parameters that permutes channels by the task.

    Put it after a layer's activation, or between layer and activation: the two commute.

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
    >>> from rgo_jax.nnx import FeatureEncoding
    >>> FeatureEncoding(4, tasks=2, name="hidden")(jnp.arange(4.0), task=1)
    Array([0., 1., 3., 2.], dtype=float32)
    """

    def __init__(
        self, width: int, *, tasks: int, name: str, seed: int = 0, axis: int = -1
    ) -> None:
        encoding = make_encoding(width, tasks=tasks, name=name, seed=seed)
        self.permutations = EncodingVariable(encoding.permutations)
        self.inverses = EncodingVariable(encoding.inverses)
        self.axis = axis

    def __call__(self, features: Array, task: int | Array) -> Array:
        """Return the features in the order of the task."""
        encoding = Encoding(self.permutations[...], self.inverses[...])
        return encode(features, encoding, task, axis=self.axis)
