"""The methods of learning task after task, by name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, get_type_hints

from rgo_bench.entries import add_entry
from rgo_bench.methods.adam_nscl import AdamNSCL
from rgo_bench.methods.apd import APD
from rgo_bench.methods.den import DEN
from rgo_bench.methods.ewc import EWC
from rgo_bench.methods.gpm import GPM, SGP
from rgo_bench.methods.los import LOS
from rgo_bench.methods.method import Method, MethodOptions, NetworkMethod, Setting
from rgo_bench.methods.owm import OWM
from rgo_bench.methods.pgn import PGN
from rgo_bench.methods.rcl import RCL
from rgo_bench.methods.replay import AGEM, ER, DERPlusPlus, ERRing
from rgo_bench.methods.rgo import PAPER, RGO, RGOOptions
from rgo_bench.methods.sgd import SGD
from rgo_bench.methods.stl import STL
from rgo_bench.methods.trgp import TRGP


class MethodEntry(NamedTuple):
    """What there is to know about a method before it is made."""

    summary: str
    defaults: MethodOptions
    build: Any  # from (Setting, its options) to the Method
    # Options that go together, by the name that ``--set preset=`` takes.
    presets: Mapping[str, Mapping[str, Any]] = MappingProxyType({})


def _entry(summary: str, method: type[Method]) -> MethodEntry:
    """Describe a method with the defaults of the options that its class names."""
    return MethodEntry(summary, get_type_hints(method)["options"](), method)


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
    "gpm": _entry("gradients orthogonal to earlier tasks' inputs", GPM),
    "owm": _entry("gradients off earlier mini-batches' mean inputs", OWM),
    "los": _entry("an orthogonal subspace for each task", LOS),
    "er-ring": _entry("replay of a sample per class and task", ERRing),
    "a-gem": _entry("gradients that do not conflict with a memory's", AGEM),
    "ewc": _entry("springs on weights that mattered earlier", EWC),
    "sgp": _entry("gradients scaled down by what earlier inputs matter", SGP),
    "trgp": _entry("GPM, with scaled weights of related tasks reused", TRGP),
    "adam-nscl": _entry("Adam's updates in the null space of earlier inputs", AdamNSCL),
    "er": _entry("replay from a reservoir", ER),
    "der++": _entry("replay of samples, and of the logits that they had", DERPlusPlus),
    "apd": _entry("shared weights under masks, and sparse ones of each task", APD),
    "den": _entry("selective retraining, new units, split units", DEN),
    "rcl": _entry("new units as a controller draws them", RCL),
    "pgn": _entry("new units for every task, old ones frozen", PGN),
    "sgd": _entry("plain SGD: forgets", SGD),
    "stl": _entry("a new network for every task", STL),
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
    add_entry("method", _methods, name, entry)


__all__ = [
    "METHODS",
    "Method",
    "MethodEntry",
    "MethodOptions",
    "NetworkMethod",
    "Setting",
    "register_method",
]
