"""The numbers that the paper publishes.

Liu and Liu, "Continual Learning with Recursive Gradient Optimization", ICLR 2022.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

# The streams of Table 1 in its order, and the network of each.
PUBLISHED_NETWORKS: Final = {
    "permuted-mnist": "mlp",
    "rotated-mnist": "mlp",
    "split-cifar100": "resnet-18",
    "split-miniimagenet": "resnet-18",
}
# Where the paper's numbers are of another network than RGO's: its STL and SGD had a
# LeNet without pooling, an AlexNet-7 of fewer hidden units, and batch normalisation.
_OWN_NETWORKS: Final[Mapping[tuple[str, str], str]] = {
    ("lenet-5", "stl"): "lenet-5-unpooled",
    ("alexnet-7", "stl"): "alexnet-7-small",
    ("resnet-18", "stl"): "resnet-18-bn",
    ("resnet-18", "sgd"): "resnet-18-bn",
}


class Published(NamedTuple):
    """One entry of the paper's Table 1: five seeds, in percent."""

    acc: float
    acc_std: float
    bwt: float
    bwt_std: float
    networks: tuple[str, ...]  # the paper's, and what else is compared with it


class PublishedGain(NamedTuple):
    """One entry of Table 2."""

    points: float  # accuracy less that of single-task learning
    points_std: float
    capacity: int  # percent of the network's weights


class PublishedFit(NamedTuple):
    """One entry of Table 3: five seeds, in percent."""

    train: float
    train_std: float
    test: float
    test_std: float
    bwt: float | None = None  # the table has none of single-task learning
    bwt_std: float | None = None


def published(stream: str, method: str) -> Published | None:
    """Return what the paper's Table 1 prints for a method on a stream.

    None where the table has no entry.
    """
    numbers = _tables()["table1"].get(stream, {}).get(method)
    if numbers is None:
        return None
    networks = compared_networks(PUBLISHED_NETWORKS[stream], method)
    return Published._make((*numbers, networks))


def own_network(network: str, method: str) -> str:
    """Return the network that the paper's numbers of a method are of.

    A row of the paper is called by the network of RGO here.
    """
    return _OWN_NETWORKS.get((network, method), network)


def compared_networks(network: str, method: str) -> tuple[str, ...]:
    """Return the networks whose numbers are compared with those of one of the paper's.

    RGO's, and the method's own where that is another; of the MLP, whose initial weights
    the paper does not state, that with Glorot's.
    """
    other = "mlp-glorot" if network == "mlp" else own_network(network, method)
    return (network,) if other == network else (network, other)


def published_methods() -> tuple[str, ...]:
    """Return the methods of the paper's Table 1 in its order."""
    return tuple(_tables()["table1"]["permuted-mnist"])


def published_gains() -> dict[str, PublishedGain]:
    """Return the paper's Table 2, by method in its order.

    The paper calls its numbers relative accuracies. That of RGO, 6.02, is the
    difference of the accuracies in its Table 3, 81.03 - 75.01, not their quotient,
    which exceeds 1 by 8.03 percent.
    """
    return {
        method: PublishedGain._make((*entry["relative_acc"], entry["capacity"]))
        for method, entry in _tables()["table2"].items()
    }


def published_fits(stream: str) -> dict[tuple[str, str], PublishedFit]:
    """Return what the paper's Table 3 prints for a stream, by network and method."""
    return {
        (network, method): PublishedFit(*numbers)
        for network, row in _tables()["table3"].get(stream, {}).items()
        for method, numbers in row.items()
    }


@cache
def _tables() -> dict[str, Any]:
    text = files("rgo_bench.paper").joinpath("published.toml").read_text("utf-8")
    return tomllib.loads(text)
