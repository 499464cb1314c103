"""How many multiplications a training step takes, and what projecting adds."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rgo_bench.methods.representations import recorded_inputs
from rgo_torch.layers.rows import RowLayer
from rgo_torch.layout import row_layers


class Operations(NamedTuple):
    """Multiplications of one training step."""

    training: int  # forward and backward, of the linear layers and convolutions
    projection: int  # what RGO adds, each projection from its cheaper side

    @property
    def ratio(self) -> float:
        """How much longer a step takes at the least, if multiplying were all."""
        return 1 + self.projection / self.training


def step_operations(
    network: nn.Module, x: Tensor, *, updates: bool = False
) -> Operations:
    """Count the multiplications of a step, without taking one.

    A layer of n inputs and m outputs that sees r rows (samples times positions) takes
    ``r n m`` forward, as many for its weight's gradient, and as many for its input's
    unless it is the first. Projecting takes ``n^2 min(r, m)`` for the weight's
    gradient, ``n^2 m`` for its update, which is whole, and ``m^2`` for the bias (Liu
    and Liu, ICLR 2022, appendix B.2). The network is run once, in its own mode.

    Examples
    --------
    >>> step_operations(nn.Linear(3, 2, bias=False), torch.zeros(1, 3))
    Operations(training=12, projection=9)
    """
    rows = row_counts(network, row_layers(network), x)
    training = projection = 0
    for place, (layer, r) in enumerate(rows.items()):
        n, m, groups = layer.features, layer.outputs, layer.groups
        training += (3 if place else 2) * groups * r * n * m
        projection += groups * n * n * (m if updates else min(r, m))
        projection += 0 if layer.bias is None else layer.width**2
    return Operations(training, projection)


@torch.no_grad()
def row_counts(
    network: nn.Module, layers: Sequence[RowLayer], x: Tensor
) -> dict[RowLayer, int]:
    """Return how many rows each layer meets, in the order in which they are called."""
    with recorded_inputs(layers) as inputs:
        network(x)
    by_name = {layer.name: layer for layer in layers}
    met = {by_name[name]: seen for name, seen in inputs.items()}
    return {layer: layer.row_count(seen) for layer, seen in met.items()}
