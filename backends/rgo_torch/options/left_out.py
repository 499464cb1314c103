"""Which parameters the user wants protected, in place of all."""

from collections.abc import Iterable

from torch import nn

from rgo_core import Axes
from rgo_torch.modules.wrappers import (
    named_modules,
    named_parameters,
    original_model,
)


def left_out(
    model: nn.Module, protect: Iterable[str | nn.Module]
) -> dict[str, Axes | None]:
    """Return overrides that leave unprotected all but what is named.

    Parameters
    ----------
    model : nn.Module
    protect : iterable of str or nn.Module
        Modules of the model, or names of modules or parameters.

    Raises
    ------
    TypeError
        If it is one name, or has something that is neither a name nor a module.
    ValueError
        If one is not in the model, or has no parameters.
    """
    if isinstance(protect, str | nn.Module):
        raise TypeError(f"protect must be a list of names or modules, got {protect!r}")
    names = [name for name, _ in named_parameters(model)]
    modules = {module: name for name, module in named_modules(model)}
    kept: set[str] = set()
    for part in protect:
        if not isinstance(part, str | nn.Module):
            raise TypeError(f"protect must be names or modules, got {part!r}")
        whole = part if isinstance(part, str) else modules.get(original_model(part))
        own = [n for n in names if whole in ("", n) or n.startswith(f"{whole}.")]
        if whole is None or not own:
            what = repr(part) if isinstance(part, str) else type(part).__name__
            raise ValueError(
                f"protect must name parts of the model that have parameters, got {what}"
            )
        kept.update(own)
    return dict.fromkeys(name for name in names if name not in kept)
