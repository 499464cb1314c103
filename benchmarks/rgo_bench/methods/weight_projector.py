"""Gradients multiplied on their input side: what GPM and OWM share."""

from collections.abc import Sequence
from functools import partial
from typing import Literal

from torch import Tensor, nn

from rgo_torch.layers.rows import RowLayer
from rgo_torch.parameters.found import projected_parameters
from rgo_torch.projecting.projected_gradient import ProjectedGradient

Biases = Literal["free", "frozen"]


def project_weights(
    network: nn.Module, layers: Sequence[RowLayer]
) -> dict[str, Tensor]:
    """Multiply the weight gradients of layers by symmetric matrices as they stand.

    Unlike `rgo_torch.GradientProjector` it leaves biases alone and scales nothing. Like
    it, it acts during the backward pass, and multiplies the factors of a gradient where
    that is cheaper. Returned are the matrices (n, n) by layer, none at first: what is
    put in multiplies from the next backward pass.
    """
    matrices: dict[str, Tensor] = {}
    for parameter in projected_parameters(network, layers).values():
        if not parameter.is_vector:
            layer, _ = parameter.uses[0]
            ProjectedGradient(parameter, partial(matrices.get, layer.name))
    return matrices


def freeze_biases(layers: Sequence[RowLayer]) -> None:
    """Leave the biases of layers as they are from now on."""
    for layer in layers:
        if layer.bias is not None:
            layer.bias.requires_grad_(False)
