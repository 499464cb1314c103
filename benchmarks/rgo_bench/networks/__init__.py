"""The networks of the experiments, by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from torch import nn

from rgo_bench.networks.convolutional import CHAINS
from rgo_bench.networks.mlp import mlp, mlp_glorot
from rgo_bench.networks.resnet import resnet_18, resnet_18_bn
from rgo_bench.networks.vit import VisionTransformer

# From (input_shape, classes, seed) to a fresh network.
NetworkMaker = Callable[[tuple[int, ...], int, int], nn.Module]

NETWORKS: Final[Mapping[str, NetworkMaker]] = MappingProxyType(
    {
        "mlp": mlp,
        "mlp-glorot": mlp_glorot,
        **CHAINS,
        "resnet-18": resnet_18,
        "resnet-18-bn": resnet_18_bn,
        "vit": VisionTransformer,
    }
)

__all__ = [
    "NETWORKS",
    "NetworkMaker",
    "VisionTransformer",
    "mlp",
    "mlp_glorot",
    "resnet_18",
    "resnet_18_bn",
]
