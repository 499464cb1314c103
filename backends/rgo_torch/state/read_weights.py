"""Which encoded modules a model reads without a call of them, for a process to come.

A curvature pass sees it, and who loads a state may run none before the model is merged.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from rgo_torch.encoding.hooks import is_called_and_read, is_uncalled, note_read
from rgo_torch.modules.wrappers import named_modules

KINDS = ("alone", "both")


def told_reads(model: nn.Module) -> dict[str, list[str]]:
    """Return the modules whose parameters are used by no call, and those by both.

    Lists of names, which torch.distributed.checkpoint keeps whole, and JSON too.
    """
    modules = dict(named_modules(model))
    return {
        "alone": [name for name, module in modules.items() if is_uncalled(module)],
        "both": [
            name for name, module in modules.items() if is_called_and_read(module)
        ],
    }


def check_reads(found: Any) -> None:
    """Raise ValueError unless a state's are names in two lists, or it tells none."""
    fits = isinstance(found, Mapping) and all(
        isinstance(found.get(key), list | tuple)
        and all(isinstance(name, str) for name in found[key])
        for key in KINDS
    )
    if found is not None and not fits:
        raise ValueError(
            "not a state of RGO: expected in 'reads' two lists of names, 'alone' and "
            f"'both', got {found!r}"
        )


def note_reads(model: nn.Module, told: Mapping[str, Any] | None) -> None:
    """Note what another process saw, where a state tells it."""
    modules, told = dict(named_modules(model)), told or dict.fromkeys(KINDS, ())
    for kind in KINDS:
        for name in told[kind]:
            if name in modules:
                note_read(modules[name], is_called=kind == "both")
