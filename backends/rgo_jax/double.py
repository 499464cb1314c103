"""Computing in float64 whatever `jax_enable_x64` says, under every transformation."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_batching import custom_vmap

Given = ParamSpec("Given")
Result = TypeVar("Result")


def in_double(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Run a function of pytrees of arrays under ``jax.enable_x64(True)``.

    The context alone would not reach as far: `jax.vmap` of a compiled function or of a
    scan applies its rules outside of it, where float64 does not exist. So the function
    is batched by being called once with leading axes, which it must support. Arrays of
    NumPy keep their float64, and where nothing is traced the function runs by itself,
    so that it sees values and can refuse them.
    """

    @custom_vmap
    def doubled(*args: Any) -> Any:
        with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
            return function(*args)  # type: ignore[call-arg]

    @doubled.def_vmap
    def batched(size: int, mapped: Any, *args: Any) -> tuple[Any, Any]:
        with jax.enable_x64(True):
            stacked = jax.tree.map(
                lambda array, is_mapped: (
                    array
                    if is_mapped
                    else jnp.broadcast_to(array, (size, *jnp.shape(array)))
                ),
                args,
                tuple(mapped),
            )
        result = doubled(*stacked)  # itself, for the vmap of a vmap
        return result, jax.tree.map(lambda _: True, result)

    @wraps(function)
    def called(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        assert not kwargs  # a custom rule takes arrays, by position
        with jax.enable_x64(True):
            arrays = jax.tree.map(_as_jax, args)
            if not _is_tracing(arrays):
                return function(*arrays)  # type: ignore[call-arg]
        result: Result = doubled(*arrays)
        return result

    return called


def check_kept_double(path: str, moment: Any) -> None:
    """Raise TypeError unless a second moment is still in float64."""
    main = moment[0] if isinstance(moment, tuple) else moment
    dtype = getattr(main, "dtype", type(main).__name__)
    if dtype != jnp.float64:
        raise TypeError(
            f"{path}: expected a second moment in float64, got {dtype}: was it "
            "computed with or loaded outside of rgo_jax, or NumPy's and an argument of "
            "a compiled function? JAX rounds it there; save and load it by "
            "rgo_jax.save and rgo_jax.load, or put it on the device under "
            "jax.enable_x64(True)"
        )


def _as_jax(array: Any) -> Array:
    return array if isinstance(array, Array) else jnp.asarray(array)


def _is_tracing(arrays: Any) -> bool:
    # Within a compiled function a constant is no tracer, and what comes of it is one.
    probes = (*jax.tree.leaves(arrays), jnp.zeros(()) + 0)
    return any(isinstance(array, jax.core.Tracer) for array in probes)
