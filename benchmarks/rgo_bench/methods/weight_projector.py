"""Gradients multiplied on their input side: what GPM and OWM share."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

import rgo_core
from rgo_torch.factors import FactorRecorder
from rgo_torch.layers import Layer

Biases = Literal["free", "frozen"]


class WeightProjector:
    """Multiplies the weight gradients of layers by symmetric matrices as they stand.

    Unlike `rgo_torch.GradientProjector` it leaves biases alone, scales nothing, and
    acts when it is told to. Like it, it multiplies the factors of a gradient where that
    is cheaper.

    Parameters
    ----------
    layers : sequence of Layer
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = {layer.name: layer for layer in layers}
        self._recorders = {layer.name: FactorRecorder(layer) for layer in layers}
        self.matrices: dict[str, Tensor] = {}  # (n, n) by layer; without: the identity

    def set(self, name: str, matrix: Tensor) -> None:
        """Multiply a layer's gradients by `matrix` from the next forward pass on."""
        if name not in self.matrices:
            self._recorders[name].reset(active=True)
        self.matrices[name] = matrix

    def project(self) -> None:
        """Multiply the gradients that the last backward pass left."""
        for name, matrix in self.matrices.items():
            layer = self._layers[name]
            gradient = layer.weight.grad
            if gradient is None:
                continue
            factors = self._recorders[name].take(gradient)
            if factors is None:
                rows = layer.weight_rows(gradient)
                projected = rgo_core.project(matrix, rows, axis=-1)
            else:
                projected = rgo_core.project_factors(matrix, *factors, axis=-1)
            gradient.copy_(projected.reshape(gradient.shape))


def freeze_biases(layers: Sequence[Layer]) -> None:
    """Leave the biases of layers as they are from now on."""
    for layer in layers:
        if layer.bias is not None:
            layer.bias.requires_grad_(False)
