"""What wraps a model or one of its parts, looked through."""

from collections.abc import Iterator

import torch
from torch import nn
from torch.autograd import forward_ad


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


def is_transformed() -> bool:
    """Whether torch.func or forward-mode differentiation is at work.

    Autograd functions of one's own have no rules for them.
    """
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield modules by name, which does not depend on what is compiled or wrapped."""
    for name, module in original_model(model).named_modules():
        if not hasattr(module, "_orig_mod"):
            yield plain_name(name), module


def plain_name(name: str) -> str:
    """Return the name of a module or a parameter as it is without `torch.compile`."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def pretrained_from(model: nn.Module) -> str | None:
    """Return where a model of transformers, or a part of it, has its weights from."""
    names = (getattr(module, "name_or_path", None) for module in model.modules())
    return next((name for name in names if isinstance(name, str) and name), None)
