"""The methods of learning task after task, by name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from rgo_bench.methods.a_gem import AGEM
from rgo_bench.methods.adam_nscl import AdamNSCL, AdamNSCLOptions
from rgo_bench.methods.apd import APD, APDOptions
from rgo_bench.methods.den import DEN, DENOptions
from rgo_bench.methods.der import ER, DEROptions, DERPlusPlus, ReservoirOptions
from rgo_bench.methods.er_ring import ERRing
from rgo_bench.methods.ewc import EWC, EWCOptions
from rgo_bench.methods.gpm import GPM, SGP, GPMOptions, SGPOptions
from rgo_bench.methods.los import LOS, LOSOptions
from rgo_bench.methods.method import Method, MethodOptions, NetworkMethod, Setting
from rgo_bench.methods.owm import OWM, OWMOptions
from rgo_bench.methods.pgn import PGN, PGNOptions
from rgo_bench.methods.rcl import RCL, RCLOptions
from rgo_bench.methods.rgo import PAPER, RGO, RGOOptions
from rgo_bench.methods.ring_memory import ReplayOptions
from rgo_bench.methods.sgd import SGD
from rgo_bench.methods.stl import STL
from rgo_bench.methods.trgp import TRGP, TRGPOptions


class MethodEntry(NamedTuple):
    """What there is to know about a method before it is made."""

    summary: str
    defaults: MethodOptions
    build: Any  # from (Setting, its options) to the Method
    # Options that go together, by the name that ``--set preset=`` takes.
    presets: Mapping[str, Mapping[str, Any]] = MappingProxyType({})


_methods: dict[str, MethodEntry] = {
    "rgo": MethodEntry(
        "recursive gradient optimization", RGOOptions(), RGO, {"paper": PAPER}
    ),
    "rgo-2": MethodEntry(
        "RGO without the feature encoding",
        RGOOptions(encode=False),
        RGO,
        {"paper": {name: PAPER[name] for name in PAPER if name != "permutations"}},
    ),
    "gpm": MethodEntry(
        "gradients orthogonal to earlier tasks' inputs", GPMOptions(), GPM
    ),
    "owm": MethodEntry(
        "gradients off earlier mini-batches' mean inputs", OWMOptions(), OWM
    ),
    "los": MethodEntry("an orthogonal subspace for each task", LOSOptions(), LOS),
    "er-ring": MethodEntry(
        "replay of a sample per class and task", ReplayOptions(), ERRing
    ),
    "a-gem": MethodEntry(
        "gradients that do not conflict with a memory's", ReplayOptions(), AGEM
    ),
    "ewc": MethodEntry("springs on weights that mattered earlier", EWCOptions(), EWC),
    "sgp": MethodEntry(
        "gradients scaled down by what earlier inputs matter", SGPOptions(), SGP
    ),
    "trgp": MethodEntry(
        "GPM, with scaled weights of related tasks reused", TRGPOptions(), TRGP
    ),
    "adam-nscl": MethodEntry(
        "Adam's updates in the null space of earlier inputs",
        AdamNSCLOptions(),
        AdamNSCL,
    ),
    "er": MethodEntry("replay from a reservoir", ReservoirOptions(), ER),
    "der++": MethodEntry(
        "replay of samples, and of the logits that they had", DEROptions(), DERPlusPlus
    ),
    "apd": MethodEntry(
        "shared weights under masks, and sparse ones of each task", APDOptions(), APD
    ),
    "den": MethodEntry(
        "selective retraining, new units, split units", DENOptions(), DEN
    ),
    "rcl": MethodEntry("new units as a controller draws them", RCLOptions(), RCL),
    "pgn": MethodEntry("new units for every task, old ones frozen", PGNOptions(), PGN),
    "sgd": MethodEntry("plain SGD: forgets", MethodOptions(), SGD),
    "stl": MethodEntry("a new network for every task", MethodOptions(), STL),
}
METHODS: Final[Mapping[str, MethodEntry]] = MappingProxyType(_methods)


def register_method(name: str, entry: MethodEntry) -> None:
    """Add a method of your own to `METHODS`.

    Parameters
    ----------
    name : str
        What ``--method`` calls it.
    entry : MethodEntry
        Its summary, its default options and its class.

    Raises
    ------
    ValueError
        If there is a method of this name.
    """
    if name in _methods:
        raise ValueError(f"method: expected a new name, got {name!r}, which exists")
    _methods[name] = entry


__all__ = [
    "METHODS",
    "Method",
    "MethodEntry",
    "MethodOptions",
    "NetworkMethod",
    "Setting",
    "register_method",
]
