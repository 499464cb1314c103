"""What pulls weights at a step: back to what they were, and to zero, one or all."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

# Weights, each with what earlier tasks left of it.
Drifting = Sequence[tuple[nn.Parameter, Tensor]]


@torch.no_grad()
def pull_back(drifting: Drifting, strength: float) -> None:
    """Add to gradients those of ``strength |w - w_before|^2 / 2``.

    Biases drift freely, and so does what was not there before.
    """
    for weight, old in drifting:
        if weight.grad is not None:
            part = slice(len(old)), slice(old.shape[1])
            weight.grad[part].add_(weight[part] - old, alpha=strength)


@torch.no_grad()
def shrink(parameters: Iterable[Tensor], amount: float) -> None:
    """Bring entries nearer to 0 by `amount`, and to 0 what is nearer already."""
    for parameter in parameters:
        parameter.copy_(functional.softshrink(parameter, amount))


@torch.no_grad()
def shrink_groups(weights: Iterable[Tensor], amount: float) -> None:
    """Bring the weights of each unit nearer to 0, as a vector."""
    for weight in weights:
        rows = weight.flatten(1)
        norms = rows.norm(dim=1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny)
        rows *= (1 - amount / norms).clamp(min=0)
