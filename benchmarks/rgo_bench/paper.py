"""The numbers that the paper publishes."""

import tomllib
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


class Published(NamedTuple):
    """One entry of the paper's Table 1: five seeds, in percent."""

    acc: float
    acc_std: float
    bwt: float
    bwt_std: float
    network: str  # what it was measured on


def published(stream: str, method: str) -> Published | None:
    """Return what the paper's Table 1 prints for a method on a stream.

    Parameters
    ----------
    stream : str
        The name of the stream, for instance ``"permuted-mnist"``.
    method : str
        The name of the method, for instance ``"rgo"``.

    Returns
    -------
    Published or None
        None where the table has no entry.

    References
    ----------
    Liu and Liu, "Continual Learning with Recursive Gradient Optimization", ICLR 2022.

    Examples
    --------
    >>> published("permuted-mnist", "rgo")
    Published(acc=91.15, acc_std=0.2, bwt=-2.05, bwt_std=0.09, network='mlp')
    """
    if stream not in PUBLISHED_NETWORKS:
        return None
    numbers = _table1()[stream.replace("-", "_")].get(method)
    if numbers is None:
        return None
    acc, acc_std, bwt, bwt_std = numbers
    return Published(acc, acc_std, bwt, bwt_std, PUBLISHED_NETWORKS[stream])


def published_methods() -> tuple[str, ...]:
    """Return the methods of the paper's Table 1 in its order."""
    return tuple(_table1()["permuted_mnist"])


@cache
def _table1() -> dict[str, dict[str, list[float]]]:
    text = files("rgo_bench").joinpath("paper_tables.toml").read_text("utf-8")
    tables: dict[str, Any] = tomllib.loads(text)
    table: dict[str, dict[str, list[float]]] = tables["table1"]
    return table
