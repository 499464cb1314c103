"""The networks of the experiments, by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from torch import nn

from rgo_bench.entries import add_entry
from rgo_bench.networks.convolutional import CHAINS
from rgo_bench.networks.mlp import mlp, mlp_glorot
from rgo_bench.networks.resnet import resnet_18, resnet_18_bn
from rgo_bench.networks.vit import VisionTransformer

# From (input_shape, classes, seed) to a fresh network.
NetworkMaker = Callable[[tuple[int, ...], int, int], nn.Module]

_networks: dict[str, NetworkMaker] = {
    "mlp": mlp,
    "mlp-glorot": mlp_glorot,
    **CHAINS,
    "resnet-18": resnet_18,
    "resnet-18-bn": resnet_18_bn,
    "vit": VisionTransformer,
}
NETWORKS: Final[Mapping[str, NetworkMaker]] = MappingProxyType(_networks)


def register_network(name: str, make: NetworkMaker) -> None:
    """Add a network of your own to `NETWORKS`.

    Parameters
    ----------
    name : str
        What ``--network`` calls it.
    make : callable
        ``make(input_shape, classes, seed)`` returns a fresh network, drawn from the
        seed alone, for inputs of any shape: RGO's defaults are found on 3 x 32 x 32.

    Raises
    ------
    ValueError
        If there is a network of this name.
    """
    add_entry("network", _networks, name, make)


__all__ = [
    "NETWORKS",
    "NetworkMaker",
    "VisionTransformer",
    "mlp",
    "mlp_glorot",
    "register_network",
    "resnet_18",
    "resnet_18_bn",
]
