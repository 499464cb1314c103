"""What the layers of a network take in, for a set of samples."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rgo_bench.methods.method import Setting
from rgo_torch.hooks import remove_all
from rgo_torch.layers.rows import RowLayer, rows_of
from rgo_torch.layout import row_layers


@contextmanager
def recorded_inputs(layers: Sequence[RowLayer]) -> Iterator[dict[str, Tensor]]:
    """Record, by its name, the input of every layer in the context's forward pass.

    Yields
    ------
    dict of str to Tensor
        Filled as the layers are called; a layer called twice shows its last input.
    """
    inputs: dict[str, Tensor] = {}

    def record(name: str) -> Callable[[nn.Module, Any], None]:
        def hook(module: nn.Module, args: Any) -> None:
            inputs[name] = args[0].detach()

        return hook

    handles = [
        layer.module.register_forward_pre_hook(record(layer.name)) for layer in layers
    ]
    try:
        yield inputs
    finally:
        remove_all(handles)


def shared_layers(network: nn.Module, setting: Setting, method: str) -> list[RowLayer]:
    """Return the layers that tasks share: without the head where each has its own.

    Raises
    ------
    ValueError
        If one is a grouped convolution.
    """
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
    network: nn.Module, layers: Sequence[RowLayer], x: Tensor
) -> dict[str, Tensor]:
    """Return the rows that each layer's weights meet when the network sees samples.

    Parameters
    ----------
    network : nn.Module
    layers : sequence of RowLayer
        As `rgo_torch.layout.row_layers` returns them.
    x : Tensor (b, *input_shape)
        The samples.

    Returns
    -------
    dict of str to Tensor (r, n)
        By the layer's name: an input a row for a linear layer, a patch a row for a
        convolution; (g, r, n) with groups.
    """
    with recorded_inputs(layers) as inputs:
        network(x)
    return {
        layer.name: rows_of(layer.input_rows(inputs[layer.name])) for layer in layers
    }


def strongest(basis: Tensor, columns: Tensor, threshold: float) -> Tensor:
    """Return the fewest directions of a basis that hold so much of representations.

    Parameters
    ----------
    basis : Tensor (n, k)
        With orthonormal columns.
    columns : Tensor (n, r)
        R.
    threshold : float
        The least ``|B B^T R|^2 / |R|^2``.

    Returns
    -------
    Tensor (n, l)
        B: columns of `basis`, those with the largest ``|b^T R|`` first.
    """
    energies, order = (basis.T @ columns).square().sum(1).sort(descending=True)
    needed = threshold * columns.square().sum()
    count = int((energies.cumsum(0) < needed).sum()) + 1
    return basis[:, order[:count]]
