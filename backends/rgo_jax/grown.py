"""What a refusal says of a parameter that has grown, as a head with more classes."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from rgo_core import DiagonalMoment, SecondMoment
from rgo_jax.forms import Moment, main_array


def way_to_grow(moment: Any, features: int) -> str:
    """Return how a second moment of fewer features is carried on, where it is."""
    missing = features - main_array(moment).shape[-1]
    own = {SecondMoment: 2, DiagonalMoment: 1}.get(type(moment))
    if missing <= 0 or own != main_array(moment).ndim:
        return ""
    kind = type(moment)
    return (
        "; if the parameter has grown, make the state anew by init and pad what was "
        f"seen with zeros, by NumPy: rgo_core.{kind.__name__}(numpy.pad(moment."
        f"{kind._fields[0]}, (0, {missing})), moment.count), new entries last"
    )


def check_grown(path: str, moment: Any, rows: Array) -> None:
    """Raise ValueError of vectors with more features than the second moment has."""
    if not isinstance(moment, Moment) or jnp.ndim(rows) == 0:
        return
    features = main_array(moment).shape[-1]
    if features < jnp.shape(rows)[-1]:
        raise ValueError(
            f"{path}: expected vectors of {features} features, as its second moment "
            f"has, got {jnp.shape(rows)[-1]}{way_to_grow(moment, jnp.shape(rows)[-1])}"
        )
