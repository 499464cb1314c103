"""What the layers of a network take in, for a set of samples."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rgo_torch.layers.rows import RowLayer, rows_of


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
        for handle in handles:
            handle.remove()


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
