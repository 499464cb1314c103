"""Mixtures of experts that keep all of them in one tensor."""

from torch import nn

from rgo_core import Axes

# Where a mixture keeps its experts in one tensor (e, m, n) or (e, n, m).
EXPERTS = ("gate_up_proj", "gate_proj", "up_proj", "down_proj")


def experts_axes(module: nn.Module) -> dict[str, Axes]:
    """Return the axes of experts, each a group; biases (e, m) are vectors of theirs.

    What comes out of ``up`` goes into ``down``: that tells inputs from outputs.
    """
    own = dict(module.named_parameters(recurse=False))
    down = own["down_proj"].shape
    up = next(own[name].shape for name in EXPERTS if name in own)
    outputs_first = up[2] == down[1] and up[1] in (down[2], 2 * down[2])
    weight = (
        Axes(groups=(0,), outputs=(1,), inputs=(2,))
        if outputs_first
        else Axes(groups=(0,), outputs=(2,), inputs=(1,))
    )
    bias = Axes(groups=(0,), inputs=(1,))
    return {
        name: weight if p.ndim == 3 else bias
        for name, p in own.items()
        if name.removesuffix("_bias") in EXPERTS
    }


def holds_experts(module: nn.Module) -> bool:
    """Whether a module has the parameters of such a mixture."""
    own = dict(module.named_parameters(recurse=False, remove_duplicate=False))
    down = own.get("down_proj")
    others = (own.get(name) for name in EXPERTS[:-1])
    return down is not None and down.ndim == 3 and any(p is not None for p in others)
