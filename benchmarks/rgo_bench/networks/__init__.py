"""The networks of the experiments, by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from torch import nn

from rgo_bench.networks.convolutional import (
    alexnet_6,
    alexnet_6_late,
    alexnet_7,
    alexnet_7_small,
    lenet_5,
    lenet_5_biased,
    lenet_5_late,
    lenet_5_unpooled,
    vgg_11,
    vgg_13,
)
from rgo_bench.networks.mlp import mlp, mlp_glorot
from rgo_bench.networks.resnet import resnet_18, resnet_18_bn
from rgo_bench.networks.vit import vit

# From (input_shape, classes, seed) to a fresh network.
NetworkMaker = Callable[[tuple[int, ...], int, int], nn.Module]

NETWORKS: Final[Mapping[str, NetworkMaker]] = MappingProxyType(
    {
        "mlp": mlp,
        "mlp-glorot": mlp_glorot,
        "lenet-5": lenet_5,
        "lenet-5-unpooled": lenet_5_unpooled,
        "lenet-5-biased": lenet_5_biased,
        "lenet-5-late": lenet_5_late,
        "alexnet-6": alexnet_6,
        "alexnet-6-late": alexnet_6_late,
        "alexnet-7": alexnet_7,
        "alexnet-7-small": alexnet_7_small,
        "vgg-11": vgg_11,
        "vgg-13": vgg_13,
        "resnet-18": resnet_18,
        "resnet-18-bn": resnet_18_bn,
        "vit": vit,
    }
)

__all__ = [
    "NETWORKS",
    "NetworkMaker",
    "alexnet_6",
    "alexnet_6_late",
    "alexnet_7",
    "alexnet_7_small",
    "lenet_5",
    "lenet_5_biased",
    "lenet_5_late",
    "lenet_5_unpooled",
    "mlp",
    "mlp_glorot",
    "resnet_18",
    "resnet_18_bn",
    "vgg_11",
    "vgg_13",
    "vit",
]
