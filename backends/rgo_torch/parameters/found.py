"""The projected parameters of a model, found in its layers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import nn

from rgo_torch.layers.layer import Layer
from rgo_torch.modules.wrappers import named_parameters
from rgo_torch.parameters.parameter import UNBOUNDED, Bound, ProjectedParameter


def projected_parameters(
    model: nn.Module,
    layers: Sequence[Layer],
    bound: Bound = UNBOUNDED,
    held: Mapping[str, nn.Parameter] | None = None,
) -> dict[str, ProjectedParameter]:
    """Return the parameters of `layers` by their names in `model`, tied ones once.

    Where layers of different kinds share one, as an embedding and a head do, the axes
    are those of a use that is not diagonal, which protects both. `held` tells what
    optimizers hold, where that is something else.
    """
    names: dict[int, str] = {}
    for name, parameter in named_parameters(model):
        names.setdefault(id(parameter), name)
    found: dict[str, ProjectedParameter] = {}
    for layer in layers:
        for own, axes in layer.axes.items():
            tensor = layer.parameter(own)
            if tensor is None:
                continue
            name = names[id(tensor)]
            before = found.get(name)
            if before is None:
                other = tensor if held is None else held[name]
                cut = None if other is tensor else other
                found[name] = ProjectedParameter(name, tensor, axes, bound, sharded=cut)
            elif before.axes.diagonal and not axes.diagonal:
                found[name] = replace(before, axes=axes)
            found[name].uses.append((layer, own))
    for each in found.values():
        each.uses[:] = _without_holders(each.uses)
        for layer, own in each.uses:
            if layer.has_any_axes:
                layer.axes[own] = each.axes
    return found


def _without_holders(uses: Sequence[tuple[Layer, str]]) -> list[tuple[Layer, str]]:
    """Leave out a module that is called again whole, where a part of it is a use too.

    Its gradients would be those of the part as well, as of the bias that the head of a
    BERT shares with the linear layer in it.
    """
    used = {layer.module for layer, _ in uses}
    return [
        (layer, own)
        for layer, own in uses
        if not layer.has_any_axes
        or used.isdisjoint(set(layer.module.modules()) - {layer.module})
    ]
