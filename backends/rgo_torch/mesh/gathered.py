"""Models that are cut up over workers: whole for a while, and their pieces.

After `fully_shard` a parameter has two forms. Optimizers step the sharded one, of which
each worker holds a piece; the model computes with the whole one, which is gathered
before a module runs and freed after it. Hooks, layers and the curvature pass are of the
second. After `parallelize_module` the model computes with pieces, but in that pass.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from rgo_torch.mesh.tensor_parallel import (
    cut_like,
    held_by_optimizers,
    is_cut,
    joined,
)
from rgo_torch.modules.torch_private import casts_of, forward_hooks
from rgo_torch.modules.trees import map_tensors
from rgo_torch.modules.wrappers import named_parameters, original_model

Parameters = Mapping[str, nn.Parameter]
Given = ParamSpec("Given")
Result = TypeVar("Result")

# Models that are whole now, by their first sharded module, with what optimizers hold.
_whole: WeakKeyDictionary[nn.Module, Parameters] = WeakKeyDictionary()


def sharded_modules(model: nn.Module) -> list[Any]:
    """Return the modules of a model that `fully_shard` was called with."""
    # Whoever called it has imported it; it takes a second.
    fsdp = sys.modules.get("torch.distributed.fsdp")
    kind = getattr(fsdp, "FSDPModule", None)
    modules = original_model(model).modules()
    return [] if kind is None else [m for m in modules if isinstance(m, kind)]


def mesh_of(model: nn.Module) -> Any:
    """Return the mesh of workers that tensor parallelism cut a model up over, or None.

    Raises
    ------
    ValueError
        If there are several, or one of several axes.
    """
    if sharded_modules(model):
        return None
    held = held_by_optimizers(model)
    meshes: set[Any] = {getattr(p, "device_mesh", None) for p in held if is_cut(p)}
    if not meshes:
        return None
    if len(meshes) > 1 or next(iter(meshes)).ndim > 1:
        raise ValueError(
            "expected a model that tensor parallelism cut up over one mesh of one "
            f"axis, got {sorted(map(str, meshes))}"
        )
    return meshes.pop()


@contextmanager
def gathered(model: nn.Module) -> Iterator[Parameters]:
    """Have all parameters of a model whole on this worker, inside the context.

    All workers enter it together. What runs inside of it sends nothing: a worker may
    fail there, or run the model more often than the others do.

    Yields
    ------
    mapping of str to nn.Parameter
        What optimizers hold, by name: the sharded parameters, if they are.

    Notes
    -----
    The memory of the whole model, in the dtype that it computes in; what optimizers
    hold, and gradients, stay sharded.
    """
    modules = sharded_modules(model)
    if not modules:
        with joined(model) as held:
            yield held
        return
    if modules[0] in _whole:
        yield _whole[modules[0]]
        return
    for module in modules:
        module.reshard()
    root = modules[0]
    _whole[root] = held = dict(named_parameters(model))
    try:
        for module in modules:
            module.unshard()
        with ExitStack() as undo:
            for module in modules:
                _cast_alone(module, undo)
            yield held
    finally:
        del _whole[root]
        for module in modules:
            module.reshard()


def _cast_alone(module: Any, undo: ExitStack) -> None:
    """Have nothing of `fully_shard`'s hooks on a whole module but their casts.

    What else they do, of gradients and of memory, has no place in a pass that sends
    nothing, and no rule for `torch.func`.
    """
    inputs, output = casts_of(module)

    def before(module: nn.Module, args: Any, kwargs: Any) -> Any:
        return map_tensors(partial(_cast, inputs), (args, kwargs))

    def after(module: nn.Module, args: Any, returned: Any) -> Any:
        return map_tensors(partial(_cast, output), returned)

    for hooks, cast in zip(forward_hooks(module), (after, before), strict=True):
        for number, hook in hooks.items():
            if hook.__module__.startswith("torch.distributed.fsdp"):
                undo.callback(hooks.__setitem__, number, hook)
                hooks[number] = cast  # in its place among the others


def _cast(dtype: torch.dtype | None, tensor: Tensor) -> Tensor:
    stays = dtype is None or not tensor.is_floating_point()
    return tensor if stays else tensor.to(dtype)


def on_whole(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Return what calls a function of a model, its first argument, on the whole one."""

    @wraps(function)
    def call(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        model: Any = args[0] if args else kwargs.get("model")
        with gathered(model):
            return function(*args, **kwargs)

    return call


def piece_of(parameter: Any) -> Tensor:
    """Return what this worker holds of a parameter, in the parameter's own memory."""
    if not is_cut(parameter):
        plain: Tensor = parameter.detach()
        return plain
    with torch.no_grad():
        piece: Tensor = parameter.to_local()
    return piece


def whole_of(piece: Tensor, parameter: Any) -> Tensor:
    """Return all of what each worker holds a piece of, as it does of a parameter.

    All workers call it together.
    """
    whole: Tensor = cut_like(piece, parameter).full_tensor()
    return whole


def own_piece(whole: Tensor, parameter: Any) -> Tensor:
    """Return of a whole what this worker holds of the parameter."""
    from torch.distributed.tensor import DTensor, Replicate

    mesh = parameter.device_mesh
    everywhere = DTensor.from_local(
        whole, mesh, [Replicate()] * mesh.ndim, run_check=False
    )
    piece: Tensor = everywhere.redistribute(mesh, parameter.placements).to_local()
    return piece
