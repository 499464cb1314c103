"""A copy of a model that is one task's, with no encoding left: for use without RGO.

Permuting what a layer takes in is the same as permuting the columns of its weight, and
permuting what it gives out that of its rows. So one task's encoding can be written into
the weights, and adapters into the layers beside them, which nothing else knows of.
"""

import copy
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from rgo_core import Axes
from rgo_torch.encoder.feature_encoder import FeatureEncoder
from rgo_torch.encoder.foldable import foldable_axes
from rgo_torch.encoding.feature_encoding import FeatureEncoding
from rgo_torch.encoding.hooks import is_called_and_read, is_uncalled
from rgo_torch.modules.hooks import remove_copied
from rgo_torch.modules.torch_private import own_parameters
from rgo_torch.modules.wrappers import named_modules, original_model
from rgo_torch.parameters.parameter import ProjectedParameter


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
        If an encoding is not at a layer whose weight can be permuted in its place, as
        where it is used without a call of the layer too.
    """
    layers = _foldable(encoder, parameters)
    copied = copy.deepcopy(original_model(model))
    remove_copied(copied)
    modules = dict(named_modules(copied))
    adapted = (getattr(module, "base_layer", None) for module in modules.values())
    bases = [base for base in adapted if isinstance(base, nn.Module)]
    _untie(copied, [*bases, *(modules[name] for name in layers)])
    if encoder is not None:
        for name, axes in layers.items():
            at_input = encoder.places[name] == "input"
            _fold(modules[name], axes, encoder.encodings[name], at_input=at_input)
    return _merged(copied)


def _foldable(
    encoder: FeatureEncoder | None, parameters: Iterable[ProjectedParameter]
) -> dict[str, Axes]:
    """Return the axes of the weights that can take the encoding, by layers' names.

    Without those that are never called, whose encoding permutes nothing.
    """
    if encoder is None:
        return {}
    uses = [
        (layer, own)
        for parameter in parameters
        for layer, own in parameter.uses
        if layer.name in encoder.places
    ]
    _check_not_read({layer.name: layer.module for layer, _ in uses})
    uncalled = {layer.name for layer, _ in uses if is_uncalled(layer.module)}
    found: dict[str, Axes] = {}
    for layer, own in uses:
        if own != "weight":
            continue
        at, encoding = encoder.places[layer.name], encoder.encodings[layer.name]
        axes = foldable_axes(layer.module, encoding, at)
        if axes is not None:
            found[layer.name] = axes
    others = sorted(set(encoder.widths) - set(found) - uncalled)
    if others:
        raise ValueError(
            "expected encodings at layers with a weight of their own, which takes up "
            "one task's: Linear, convolutions and embeddings as PyTorch has them, with "
            "no forward, parameter or buffer beside, and no hook before the encoding; "
            "use the model inside of task(t), or have RGO encode elsewhere; got "
            f"others: {', '.join(others)}"
        )
    return {name: found[name] for name in encoder.widths if name not in uncalled}


def _check_not_read(modules: Mapping[str, nn.Module]) -> None:
    """Refuse layers whose parameters are used both by calls and without."""
    both = [name for name, module in modules.items() if is_called_and_read(module)]
    if both:
        raise ValueError(
            "expected layers that are encoded to be used by calls alone, so that their "
            "weights can take one task's order; got some whose weight the model also "
            f"reads without a call, in its own order: {', '.join(both)}; name them in "
            "unencoded= when RGO is made, or use the model inside of task(t)"
        )


def _untie(model: nn.Module, modules: Iterable[nn.Module]) -> None:
    """Untie all parameters, if one of these modules has one that others hold too."""
    holders = Counter(
        id(parameter)
        for _, module in named_modules(model)
        for parameter in own_parameters(module).values()
    )
    mine = [p for m in modules for p in own_parameters(m).values() if p is not None]
    if all(holders[id(parameter)] < 2 for parameter in mine):
        return
    # Whatever else is tied too: transformers ties all or none when it loads.
    for _, module in named_modules(model):
        for own, parameter in own_parameters(module).items():
            if parameter is None or holders[id(parameter)] < 2:
                continue
            holders[id(parameter)] -= 1
            values = parameter.detach().clone()
            setattr(module, own, nn.Parameter(values, parameter.requires_grad))
    # As transformers notes that it is to tie them again when it loads.
    for each in model.modules():
        config: Any = getattr(each, "config", None)
        if getattr(config, "tie_word_embeddings", False):
            config.tie_word_embeddings = False


@torch.no_grad()
def _fold(
    module: nn.Module,
    axes: Axes,
    encoding: FeatureEncoding,
    *,
    at_input: bool,
) -> None:
    """Write a permutation into a module's weight, and into its bias at its output."""
    weight = module.get_parameter("weight")
    if at_input:
        # sum_j W_j x[order_j] = sum_i W[inverse_i] x_i
        axis, order = axes.inputs[0], encoding.inverse
    else:
        (axis,), order = axes.outputs, encoding.permutation
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
