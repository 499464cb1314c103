"""Arrays on a mesh whose axes are explicit, as those of newer JAX are by default.

There each product and reshape must say how its result is sharded; the core's do not.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import Array
from jax.sharding import AxisType


def by_compiler(function: Callable[..., Any], *arrays: Any, like: Any = None) -> Any:
    """Call a function of pytrees of arrays whose shardings the compiler chooses.

    The result is sharded as the array `like` is, or whole on every device.
    """
    leaves = [leaf for leaf in jax.tree.leaves(arrays) if isinstance(leaf, Array)]
    meshes = (jax.typeof(leaf).sharding.mesh for leaf in leaves)
    mesh = next((each for each in meshes if _explicit(each)), None)
    if mesh is None:
        return function(*arrays)
    module: Any = jax.sharding  # which leaves `auto_axes` and others without types
    whole = module.NamedSharding(mesh, module.PartitionSpec())
    sharding = whole if like is None else jax.typeof(like).sharding
    axes = _explicit(mesh)
    automatic = module.auto_axes(function, axes=axes, out_sharding=sharding)
    return automatic(*arrays)


def _explicit(mesh: Any) -> tuple[str, ...]:
    kinds = zip(mesh.axis_names, mesh.axis_types or (), strict=False)
    return tuple(name for name, kind in kinds if kind == AxisType.Explicit)
