"""Modules called again, with other parameters than their own."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad

from rgo_torch.encoding.hooks import unencoded

# ``forward(module, parameters, args, kwargs)`` returns what the module would return.
Forward = Callable[[nn.Module, Mapping[str, Tensor], tuple[Any, ...], Any], Any]
# ``score(parameters)`` is a number; of it the gradients of all, by name.
Score = Callable[[Mapping[str, Tensor]], Tensor]
Gradients = Callable[[Score, Mapping[str, Tensor]], dict[str, Tensor]]


def call_functionally(
    module: nn.Module,
    parameters: Mapping[str, Tensor],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:
    """Call a module with other parameters than its own, as if it were not encoded.

    Its parts are, by their own encodings; what was recorded of it lies between its own.
    """
    with unencoded(module):
        return functional_call(module, dict(parameters), args, dict(kwargs))


def by_transform(score: Score, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Differentiate as `torch.func.vmap` can map it over samples."""
    found: dict[str, Tensor] = grad(score)(dict(parameters))
    return found


def by_autograd(score: Score, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Differentiate what `torch.func` cannot: older functions, checkpoints."""
    leaves = {own: p.detach().requires_grad_() for own, p in parameters.items()}
    with torch.enable_grad():
        value = score(leaves)
    if not value.requires_grad:  # of experts, say, that no token came to
        return {own: torch.zeros_like(leaf) for own, leaf in leaves.items()}
    found = torch.autograd.grad(
        value, list(leaves.values()), allow_unused=True, materialize_grads=True
    )
    return dict(zip(leaves, found, strict=True))
