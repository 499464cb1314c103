"""Which layers can have a permutation written into their weight.

Those that give out products with it, plus a bias, and nothing else: what a subclass, a
hook or another parameter adds would stay in the order that it had.
"""

import itertools
from typing import Any

from torch import nn

from rgo_core import Axes
from rgo_torch.encoding.feature_encoding import FeatureEncoding
from rgo_torch.encoding.hooks import Encode
from rgo_torch.layers.known_kinds import KNOWN
from rgo_torch.layers.places import CONVOLUTIONS, TRANSPOSED, At
from rgo_torch.modules.hooks import ModuleHook
from rgo_torch.modules.torch_private import (
    convolves_as,
    forward_hooks,
    own_parameters,
)
from rgo_torch.projecting.projected_forward import has_foreign_forward

FOLDABLE = (
    *(nn.Linear, nn.Bilinear, *CONVOLUTIONS, *TRANSPOSED),
    *(nn.Embedding, nn.EmbeddingBag, "transformers.pytorch_utils.Conv1D"),
)


def foldable_axes(module: nn.Module, encoding: FeatureEncoding, at: At) -> Axes | None:
    """Return the axes of the weight that an encoding can be written into, or None.

    Parameters
    ----------
    module : nn.Module
    encoding : FeatureEncoding
    at : {"input", "output"}
        Whether it permutes what the module takes in, or what it gives out.
    """
    found = _known_class(module)
    if found is None or _has_hook_between(module, at):
        return None
    kind = KNOWN[found]
    axes, channels = kind.axes(module)["weight"], kind.channels
    assert channels is not None  # all that are foldable have them
    axis = axes.inputs[0] if at == "input" else axes.outputs[0]
    fits = (
        encoding.width == module.get_parameter("weight").shape[axis]
        and encoding.axis == channels(module).axis
        and not axes.groups
        and not (at == "input" and axes.diagonal)  # an embedding is given indices
    )
    return axes if fits else None


def _known_class(module: nn.Module) -> type[nn.Module] | str | None:
    """Return the foldable class of which a module does all and no more, by its key."""
    for kind in type(module).__mro__:
        for key in (kind, f"{kind.__module__}.{kind.__qualname__}"):
            if key in FOLDABLE:
                return key if _is_plain(module, kind) else None
    return None


def _is_plain(module: nn.Module, known: type[Any]) -> bool:
    """Whether a module computes what its class does, from a weight and a bias alone."""
    own, kind = own_parameters(module), type(module)
    computes_as = (
        convolves_as(module, known)
        if issubclass(known, CONVOLUTIONS)
        else kind.forward is known.forward
    )
    return (
        computes_as
        and kind.__call__ is nn.Module.__call__
        and not has_foreign_forward(module)
        and own.keys() <= {"weight", "bias"}
        and next(module.buffers(), None) is None
        and next(module.children(), None) is None  # nor a parametrization
        and getattr(module, "bias", None) is own.get("bias")
    )


def _has_hook_between(module: nn.Module, at: At) -> bool:
    """Whether a hook of someone else sees what has not been permuted yet."""
    after, before = forward_hooks(module)
    hooks = list(before.values()) if at == "input" else reversed(after.values())
    between = itertools.dropwhile(lambda hook: not isinstance(hook, Encode), hooks)
    return not all(isinstance(hook, ModuleHook) for hook in between)
