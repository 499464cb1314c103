"""Computing in float64 whatever `jax_enable_x64` says, under every transformation."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

Given = ParamSpec("Given")
Result = TypeVar("Result")


def in_double(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Run a function of pytrees of arrays under ``jax.enable_x64(True)``.

    The context alone would not reach as far: `jax.vmap` of a compiled function or of a
    scan applies its rules outside of it, where float64 does not exist. So the function
    is batched by being called once with leading axes, which it must support.
    """

    @custom_vmap
    def doubled(*args: Any) -> Any:
        with jax.enable_x64(True):
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
        result: Result = doubled(*args)
        return result

    return called
