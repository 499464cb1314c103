"""Where an array's functions come from."""

import sys

from array_api_compat import array_namespace

from rgo_core._typing import Array, Namespace


def resolve(xp: Namespace | None, *arrays: Array) -> Namespace:
    """Return `xp`, or the common namespace of `arrays` where it is None."""
    return array_namespace(*arrays) if xp is None else xp


def device_of(array: Array) -> object:
    """Return the device of `array`; None where JAX places what meets it itself.

    So it does when it traces, and beside arrays of several devices, whose sharding it
    calls their device, though an array of other axes cannot be sharded so.
    """
    device = getattr(array, "device", None)
    return None if hasattr(device, "device_set") else device


def is_traced(array: Array) -> bool:
    """Tell whether `array` has no values yet, because JAX is tracing a function."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(array, jax.core.Tracer)
