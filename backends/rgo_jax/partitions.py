"""Samples that the compiler parts among devices, where it parts convolutions wrongly.

XLA's partitioner computes gradients in the kernel of a convolution that are mapped over
samples as one convolution of as many groups, and mixes these up: all samples but those
of the first device have another's (seen with jaxlib 0.10.2, in plain JAX).
"""

from collections.abc import Callable
from typing import Any

import jax


def check_parted(vectors: Callable[[Any], Any], batch: Any) -> None:
    """Refuse samples of convolutions that are sharded, outside of `jax.shard_map`.

    Of what is traced the compiler alone knows how it is sharded, and is asked.
    """
    if jax.device_count() == 1 or jax.sharding.get_abstract_mesh().manual_axes:
        return
    shapes: Any = jax.ShapeDtypeStruct
    one = jax.tree.map(lambda each: shapes((1, *each.shape[1:]), each.dtype), batch)
    if "conv_general_dilated" not in str(jax.make_jaxpr(vectors)(one)):
        return
    for array in jax.tree.leaves(batch):
        if isinstance(array, jax.Array):
            _check_whole(jax.typeof(array).sharding)
            jax.debug.inspect_array_sharding(array, callback=_check_whole)


def _check_whole(sharding: Any) -> None:
    if not sharding.is_fully_replicated:
        raise ValueError(
            "expected a batch that is whole on every device, for of single samples "
            "that are sharded XLA computes wrong gradients in convolutions, got "
            f"{getattr(sharding, 'spec', sharding)}: observe each device's samples "
            "inside of jax.shard_map and add up by rgo_jax.summed, or take the taps of "
            "rgo_jax.conv"
        )
