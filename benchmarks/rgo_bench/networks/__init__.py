"""The networks of the experiments, by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from torch import nn

from rgo_bench.networks.mlp import mlp, mlp_glorot

# From (input_shape, classes, seed) to a fresh network.
NetworkMaker = Callable[[tuple[int, ...], int, int], nn.Module]

NETWORKS: Final[Mapping[str, NetworkMaker]] = MappingProxyType(
    {"mlp": mlp, "mlp-glorot": mlp_glorot}
)

__all__ = ["NETWORKS", "NetworkMaker", "mlp", "mlp_glorot"]
