"""Modules called again, with other parameters than their own."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from rgo_torch.encoding_hooks import unencoded

# ``forward(module, parameters, args, kwargs)`` returns what the module would return.
Forward = Callable[[nn.Module, Mapping[str, Tensor], tuple[Any, ...], Any], Any]


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
