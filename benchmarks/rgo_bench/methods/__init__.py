"""The methods of learning task after task, by name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from rgo_bench.methods.method import Method, MethodOptions, NetworkMethod, Setting
from rgo_bench.methods.rgo import RGO, RGOOptions
from rgo_bench.methods.sgd import SGD
from rgo_bench.methods.stl import STL


class MethodEntry(NamedTuple):
    """What there is to know about a method before it is made."""

    summary: str
    defaults: MethodOptions
    build: Any  # from (Setting, its options) to the Method


METHODS: Final[Mapping[str, MethodEntry]] = MappingProxyType(
    {
        "rgo": MethodEntry("recursive gradient optimization", RGOOptions(), RGO),
        "rgo-2": MethodEntry(
            "RGO without the feature encoding", RGOOptions(encode=False), RGO
        ),
        "sgd": MethodEntry("plain SGD: forgets", MethodOptions(), SGD),
        "stl": MethodEntry("a new network for every task", MethodOptions(), STL),
    }
)

__all__ = [
    "METHODS",
    "Method",
    "MethodEntry",
    "MethodOptions",
    "NetworkMethod",
    "Setting",
]
