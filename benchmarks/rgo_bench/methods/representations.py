"""What the layers of a network take in, for a set of samples."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rgo_bench.methods.method import Setting
from rgo_torch.layers.rows import RowLayer, rows_of
from rgo_torch.layout import row_layers
from rgo_torch.modules.hooks import remove_all
from rgo_torch.observation.calls import evaluating


@contextmanager
def recorded_inputs(layers: Sequence[RowLayer]) -> Iterator[dict[str, Tensor]]:
    """Record, by its name, the last input of every layer called in the context."""
    inputs: dict[str, Tensor] = {}

    def record(name: str, module: nn.Module, args: Any) -> None:
        inputs[name] = args[0].detach()

    handles = [
        layer.module.register_forward_pre_hook(partial(record, layer.name))
        for layer in layers
    ]
    try:
        yield inputs
    finally:
        remove_all(handles)


def shared_layers(network: nn.Module, setting: Setting, method: str) -> list[RowLayer]:
    """Return the layers that tasks share: without the head where each has its own."""
    layers = row_layers(network)
    layers = layers[:-1] if setting.own_outputs else layers
    grouped = [layer.name for layer in layers if layer.groups > 1]
    if grouped:
        raise ValueError(f"{method}: expected no grouped convolutions, got {grouped}")
    return layers


def spread(x: Tensor, count: int) -> Tensor:
    """Return some samples at even distances, or all where there are fewer."""
    return x[:: max(1, len(x) // count)][:count]


@torch.no_grad()
def input_rows(
    network: nn.Module,
    layers: Sequence[RowLayer],
    x: Tensor,
    *,
    forward: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return, by name, the rows (r, n) that each layer's weights meet for samples.

    An input a row for a linear layer, a patch a row for a convolution; (g, r, n) with
    groups. The network, or what calls it, runs in eval mode: its running statistics are
    those of training.
    """
    with recorded_inputs(layers) as inputs, evaluating(network):
        (forward or network)(x)
    return {
        layer.name: rows_of(layer.input_rows(inputs[layer.name])) for layer in layers
    }


def strongest(basis: Tensor, columns: Tensor, threshold: float) -> Tensor:
    """Return the fewest columns B of a basis with ``|B B^T R|^2 >= threshold |R|^2``.

    The basis is orthonormal; of its columns those with the largest ``|b^T R|`` come
    first, R being the representations (n, r).
    """
    energies, order = (basis.T @ columns).square().sum(1).sort(descending=True)
    needed = threshold * columns.square().sum()
    count = int((energies.cumsum(0) < needed).sum()) + 1
    return basis[:, order[:count]]
