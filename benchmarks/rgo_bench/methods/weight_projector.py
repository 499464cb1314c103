"""Gradients multiplied on their input side: what GPM and OWM share."""

from collections.abc import Sequence
from functools import partial
from typing import Literal

from torch import Tensor, nn

from rgo_torch.fast.projected_gradient import ProjectedGradient
from rgo_torch.layers.rows import RowLayer
from rgo_torch.parameters import projected_parameters

Biases = Literal["free", "frozen"]


class WeightProjector:
    """Multiplies the weight gradients of layers by symmetric matrices as they stand.

    Unlike `rgo_torch.GradientProjector` it leaves biases alone and scales nothing. Like
    it, it acts during the backward pass, and multiplies the factors of a gradient where
    that is cheaper.

    Parameters
    ----------
    network : nn.Module
    layers : sequence of RowLayer
        Of the network.
    """

    def __init__(self, network: nn.Module, layers: Sequence[RowLayer]) -> None:
        self.matrices: dict[str, Tensor] = {}  # (n, n) by layer; without: the identity
        for parameter in projected_parameters(network, layers).values():
            if not parameter.is_vector:
                layer, _ = parameter.uses[0]
                ProjectedGradient(parameter, partial(self._find, layer.name))

    def set(self, name: str, matrix: Tensor) -> None:
        """Multiply a layer's gradients by `matrix` from the next backward pass on."""
        self.matrices[name] = matrix

    def _find(self, name: str) -> Tensor | None:
        return self.matrices.get(name)


def freeze_biases(layers: Sequence[RowLayer]) -> None:
    """Leave the biases of layers as they are from now on."""
    for layer in layers:
        if layer.bias is not None:
            layer.bias.requires_grad_(False)
