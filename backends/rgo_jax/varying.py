"""Arrays that differ between the devices of a mesh, inside of `jax.shard_map`.

With ``check_vma=True``, its default, the gradient in an array that all devices share is
summed over them before it can be told apart by samples.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax import Array


def varying_with(
    function: Callable[[Mapping[str, Array]], Array], arrays: Mapping[str, Array]
) -> dict[str, Array]:
    """Return arrays that vary along the axes along which `function` of them does."""
    if not jax.sharding.get_abstract_mesh().manual_axes:
        return dict(arrays)
    axes = _axes(jax.eval_shape(function, arrays))
    return {path: _varying(array, axes) for path, array in arrays.items()}


def varying_alike(*arrays: Array) -> tuple[Array, ...]:
    """Return arrays that all vary along the axes along which any does."""
    axes = frozenset[str]().union(*(_axes(jax.typeof(array)) for array in arrays))
    return tuple(_varying(array, axes) for array in arrays)


def _axes(kind: Any) -> frozenset[str]:
    """Return the axes along which arrays of a type vary: newer JAX has another name."""
    if hasattr(kind, "manual_axis_type"):
        return getattr(kind.manual_axis_type, "varying", frozenset())
    return getattr(kind, "vma", None) or frozenset()


def _varying(array: Array, axes: frozenset[str]) -> Array:
    missing = axes - _axes(jax.typeof(array))
    if not missing:
        return array
    lax: Any = jax.lax
    if hasattr(lax, "pcast"):
        cast: Array = lax.pcast(array, tuple(sorted(missing)), to="varying")
    else:  # JAX 0.8
        cast = lax.pvary(array, tuple(sorted(missing)))
    return cast
