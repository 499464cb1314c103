"""What wraps a model or one of its parts, looked through."""

from collections.abc import Iterator

from torch import nn

from rgo_torch.modules.torch_private import (
    INNER,
    is_compiled_in_place,
    is_flat_parameter,
    is_forward_mode,
    is_functional,
)

PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def original_model(model: nn.Module) -> nn.Module:
    """Return what is behind `torch.compile`, DistributedDataParallel and the like.

    Raises
    ------
    TypeError
        If it is no module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model must be an nn.Module, got a {type(model).__name__}; of several "
            "that learn together make one, as nn.ModuleList([...])"
        )
    while (inner := _inner(model)) is not None:
        model = inner
    return model


def _inner(module: nn.Module) -> nn.Module | None:
    if isinstance(module, PARALLEL):
        parallel: nn.Module = module.module
        return parallel
    found = (getattr(module, name, None) for name in INNER)
    return next((inner for inner in found if isinstance(inner, nn.Module)), None)


def is_compiled(model: nn.Module) -> bool:
    """Tell whether the model, or a part of it, went through `torch.compile`."""
    return any(
        hasattr(module, INNER[0]) or is_compiled_in_place(module)
        for module in model.modules()
    )


def is_transformed() -> bool:
    """Whether torch.func or forward-mode differentiation is at work.

    Autograd functions of one's own have no rules for them.
    """
    return is_functional() or is_forward_mode()


def full_name(module: str, own: str) -> str:
    """Return the name in a model of what a module of it calls `own`."""
    return f"{module}.{own}" if module else own


def named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield modules by name, which does not depend on what is compiled or wrapped."""
    waiting, seen = [("", model)], set()
    while waiting:
        name, module = waiting.pop()
        module = original_model(module)
        if module in seen:
            continue
        seen.add(module)
        yield name, module
        waiting += [
            (full_name(name, own), child)
            for own, child in reversed(list(module.named_children()))
        ]


def named_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield parameters by such names; a tied one by each of its names."""
    for name, module in named_modules(model):
        own = module.named_parameters(name, recurse=False, remove_duplicate=False)
        yield from own


def check_whole(name: str, parameter: nn.Parameter) -> None:
    """Refuse a parameter of which this worker has a part only.

    Raises
    ------
    ValueError
        If it is cut up by FSDP (but `fully_shard`) or by DeepSpeed's ZeRO 3, or both by
        `fully_shard` and by tensor parallelism.
    """
    kinds = {kind.__name__ for kind in type(parameter).__mro__}
    parts = [
        what
        for what, found in (
            ("a DTensor", "DTensor" in kinds),
            ("a FlatParameter of FSDP", is_flat_parameter(parameter)),
            ("a part that ZeRO 3 left", hasattr(parameter, "ds_id")),
        )
        if found
    ]
    if parts:
        raise ValueError(
            f"{name}: expected a parameter that is whole on every worker, got "
            f"{parts[0]}: RGO serves DistributedDataParallel, fully_shard and tensor "
            "parallelism, one of them alone and before RGO is attached, and no model "
            "cut up by FullyShardedDataParallel or DeepSpeed"
        )


def pretrained_from(model: nn.Module) -> str | None:
    """Return where a model of transformers, or a part of it, has its weights from."""
    names = (getattr(module, "name_or_path", None) for module in model.modules())
    return next((name for name in names if isinstance(name, str) and name), None)
