"""The layers of a model that RGO knows."""

from collections.abc import Iterator
from typing import NamedTuple

from torch import nn

from rgo_torch.convolution import Conv2dLayer
from rgo_torch.layer import Layer, LinearLayer


class Skipped(NamedTuple):
    """A module, or a parameter, that RGO leaves as it is, and why."""

    name: str
    reason: str


def find_layers(model: nn.Module) -> tuple[list[Layer], list[Skipped]]:
    """Return the layers of a model that RGO projects, and those that it does not.

    Raises
    ------
    ValueError
        If a module has parameters without a shape yet (a lazy module before its first
        call).
    """
    layers: list[Layer] = []
    skipped: list[Skipped] = []
    for name, module in named_modules(model):
        if not any(True for _ in module.parameters(recurse=False)):
            continue
        layer = _as_layer(name, module)
        if isinstance(layer, Layer):
            layers.append(layer)
            skipped += [
                Skipped(f"{name}.{own}" if name else own, "neither weight nor bias")
                for own, _ in module.named_parameters(recurse=False)
                if own not in ("weight", "bias")
            ]
        else:
            skipped.append(Skipped(name or type(module).__name__, layer))
    return layers, skipped


def original_model(model: nn.Module) -> nn.Module:
    """Return the model behind `torch.compile` and (Distributed)DataParallel."""
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while True:
        inner = getattr(model, "_orig_mod", None)
        if isinstance(model, wrappers):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def is_compiled(model: nn.Module) -> bool:
    """Tell whether the model, or a part of it, went through `torch.compile`."""
    return any(
        hasattr(module, "_orig_mod") or module._compiled_call_impl is not None
        for module in model.modules()
    )


def named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield modules by name, which does not depend on what is compiled or wrapped."""
    for name, module in original_model(model).named_modules():
        if not hasattr(module, "_orig_mod"):
            parts = [part for part in name.split(".") if part != "_orig_mod"]
            yield ".".join(parts), module


def _as_layer(name: str, module: nn.Module) -> Layer | str:
    kind = type(module).__name__
    for parameter in module.parameters(recurse=False):
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise ValueError(
                f"module {name!r} ({kind}) has no shape yet: call the model once before"
            )
        if not parameter.is_floating_point():
            return f"{kind} with parameters of {parameter.dtype}"
    if isinstance(module, nn.Linear | nn.Conv2d):
        if not isinstance(module._parameters.get("weight"), nn.Parameter):
            return f"{kind} whose weight is computed by a parametrization"
        if isinstance(module, nn.modules.linear.NonDynamicallyQuantizableLinear):
            return f"{kind}, which nn.MultiheadAttention uses without calling it"
        if isinstance(module, nn.Linear):
            return LinearLayer(name, module)
        return Conv2dLayer(name, module)
    return f"{kind} is neither Linear nor Conv2d"
