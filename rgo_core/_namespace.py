"""Where an array's functions come from."""

import sys

from array_api_compat import array_namespace

from rgo_core._typing import Array, Namespace


def resolve(xp: Namespace | None, *arrays: Array) -> Namespace:
    """Return `xp`, or the common namespace of `arrays` where it is None."""
    return array_namespace(*arrays) if xp is None else xp


def device_of(array: Array) -> object:
    """Return the device of `array`; None where JAX, tracing, places it itself."""
    return getattr(array, "device", None)


def is_traced(array: Array) -> bool:
    """Tell whether `array` has no values yet, because JAX is tracing a function."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(array, jax.core.Tracer)
