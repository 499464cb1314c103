"""The layout of a model: what each parameter's inputs and outputs are, or why not.

Everything else (curvature pass, projector, encoder, summary) asks it.
"""

from typing import NamedTuple

from torch import nn

from rgo_core import Axes
from rgo_torch.adapters.lora import frozen_beside_adapters
from rgo_torch.layers.kinds import find_kind
from rgo_torch.layers.layer import Layer
from rgo_torch.layers.module_layers import ModuleLayers, owned_parts
from rgo_torch.layers.rows import RowLayer
from rgo_torch.layers.skipped import Overrides, Skipped
from rgo_torch.mesh.gathered import on_whole
from rgo_torch.modules.reading import unmoved
from rgo_torch.modules.wrappers import full_name, named_modules, named_parameters


class Layout(NamedTuple):
    """The layers of a model whose parameters RGO protects, and what it does not."""

    layers: list[Layer]
    skipped: list[Skipped]


@on_whole
def find_layout(model: nn.Module, overrides: Overrides | None = None) -> Layout:
    """Return the layout of a model.

    Parameters
    ----------
    model : nn.Module
    overrides : mapping of str to Axes or None, optional
        Axes by the parameter's name in the model, in place of those that RGO finds;
        None leaves the parameter unprotected.

    Returns
    -------
    Layout
        Every parameter, real or complex, is in it: of modules that RGO knows (see
        `register_layout`) by their axes, of others what their code multiplies by, and
        the rest entry by entry. Of a model with adapters (PEFT's LoRA) those that are
        not frozen; the others are skipped.

    Raises
    ------
    ValueError
        If an override names no parameter or its axes do not fit the parameter's shape,
        or a module has parameters without a shape yet (a lazy module before its first
        call), the model is sharded, or there are adapters that RGO does not know.
    TypeError
        If an override is neither `Axes` nor None.

    Examples
    --------
    >>> import torch, rgo_torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    >>> layout = rgo_torch.find_layout(model)
    >>> [(layer.name, own) for layer in layout.layers for own in layer.axes]
    [('0', 'weight'), ('0', 'bias'), ('1', 'weight'), ('1', 'bias')]
    """
    given = dict(overrides or {})
    _check_overrides(model, given)
    with unmoved(model):
        return _layout(model, given)


def _layout(model: nn.Module, given: Overrides) -> Layout:
    frozen = frozen_beside_adapters(model)
    layers: list[Layer] = []
    skipped: list[Skipped] = []
    owned: list[str] = []
    for name, module in named_modules(model):
        if any(f"{name}.".startswith(prefix) for prefix in owned):
            continue
        kind = find_kind(module)
        owners = [full_name(name, part) + "." for part in owned_parts(module, kind)]
        owned += owners
        found, passed = ModuleLayers(name, module, kind, frozen).layers(given)
        layers += found
        skipped += passed
    return Layout(layers, skipped)


def row_layers(model: nn.Module) -> list[RowLayer]:
    """Return the layers of a model whose weight gradients are products of rows."""
    layers = find_layout(model).layers
    return [layer for layer in layers if isinstance(layer, RowLayer)]


def _check_overrides(model: nn.Module, overrides: Overrides) -> None:
    names = {name for name, _ in named_parameters(model)}
    unknown = sorted(set(overrides) - names)
    if unknown:
        raise ValueError(
            f"layout must name parameters of the model, got {unknown}; "
            f"it has {sorted(names)}"
        )
    for name, axes in overrides.items():
        if axes is not None and not isinstance(axes, Axes):
            raise TypeError(f"layout[{name!r}] must be Axes or None, got {axes!r}")
