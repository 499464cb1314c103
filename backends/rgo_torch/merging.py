"""A copy of a model that is one task's, with no encoding left: for use without RGO.

Permuting what a layer takes in is the same as permuting the columns of its weight, and
permuting what it gives out that of its rows. So one task's encoding can be written into
the weights, and adapters into the layers beside them, which nothing else knows of.
"""

import copy
from collections.abc import Iterable

import torch
from torch import nn

from rgo_core import Axes
from rgo_torch.encoder import FeatureEncoder
from rgo_torch.encoding import FeatureEncoding
from rgo_torch.hooks import remove_copied
from rgo_torch.layers.layer import Layer
from rgo_torch.parameters import ProjectedParameter
from rgo_torch.torch_private import own_parameters
from rgo_torch.wrappers import named_modules, original_model


def merged_copy(
    model: nn.Module,
    encoder: FeatureEncoder | None,
    parameters: Iterable[ProjectedParameter],
) -> nn.Module:
    """Return a plain copy with the encoder's task folded in, and adapters merged.

    Parameters
    ----------
    model : nn.Module
    encoder : FeatureEncoder, optional
    parameters : iterable of ProjectedParameter
        All that the encoder's layers have.

    Raises
    ------
    ValueError
        If an encoding is not at a layer whose weight can be permuted, or that weight is
        used by another layer too.
    """
    layers = _foldable(encoder, parameters)
    copied = copy.deepcopy(original_model(model))
    remove_copied(copied)
    if encoder is not None:
        modules = dict(named_modules(copied))
        for name, layer in layers.items():
            at_input = encoder.places[name] == "input"
            encoding = encoder.encodings[name]
            _fold(modules[name], layer.axes, encoding, at_input=at_input)
    return _merged(copied)


def _foldable(
    encoder: FeatureEncoder | None, parameters: Iterable[ProjectedParameter]
) -> dict[str, Layer]:
    """Return the layers whose weights can take the encoding, by name."""
    if encoder is None:
        return {}
    found: dict[str, Layer] = {}
    for parameter in parameters:
        layer, own = parameter.uses[0]
        is_alone = len(parameter.uses) == 1
        if own == "weight" and is_alone and not layer.axes[own].groups:
            found[layer.name] = layer
    others = sorted(set(encoder.widths) - set(found))
    if others:
        raise ValueError(
            "expected encodings at layers with a weight of their own, which takes up "
            f"one task's, got others: {', '.join(others)}"
        )
    return {name: found[name] for name in encoder.widths}


@torch.no_grad()
def _fold(
    module: nn.Module,
    axes: dict[str, Axes],
    encoding: FeatureEncoding,
    *,
    at_input: bool,
) -> None:
    """Write a permutation into a module's weight, and into its bias at its output."""
    weight = module.get_parameter("weight")
    if at_input:
        # sum_j W_j x[order_j] = sum_i W[inverse_i] x_i
        axis, order = axes["weight"].inputs[0], encoding.inverse
    else:
        (axis,), order = axes["weight"].outputs, encoding.permutation
        bias = own_parameters(module).get("bias")
        if bias is not None:
            bias.copy_(bias[order.to(bias.device)])
    weight.copy_(weight.index_select(axis, order.to(weight.device)))


def _merged(model: nn.Module) -> nn.Module:
    """Return a model with every PeftModel in it replaced by its base, merged."""
    for name, module in list(model.named_modules()):
        # What holds its own kind is replaced whole.
        if any(kind.__qualname__ == "PeftModel" for kind in type(module).__mro__):
            merged: nn.Module = module.merge_and_unload()
            if not name:
                return merged
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, merged)
    return model
