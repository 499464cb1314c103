"""Models that tensor parallelism cut up, whole for a while.

`parallelize_module` leaves DTensors for weights, of which each worker has a part of a
layer's outputs (`ColwiseParallel`) or inputs (`RowwiseParallel`), and hooks that cut up
and join what passes. All workers see the same samples. Optimizers step the DTensors;
the curvature pass runs on the whole model, on each worker for itself.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from rgo_torch.modules.torch_private import forward_hooks
from rgo_torch.modules.wrappers import named_modules, named_parameters, original_model

Parameters = Mapping[str, nn.Parameter]

# By identity, for tensors compare by entries; and what they are whole of, lest its
# identity goes to another.
Twins = dict[int, tuple[Any, nn.Parameter]]

# The whole forms of a model's DTensors. Their memory is free while it is cut up.
_twins: WeakKeyDictionary[nn.Module, Twins] = WeakKeyDictionary()
# Models that are whole now, with what optimizers hold.
_whole: WeakKeyDictionary[nn.Module, Parameters] = WeakKeyDictionary()


def held_by_optimizers(model: nn.Module) -> Iterable[nn.Parameter]:
    """Return what optimizers hold of a model, whether it is whole now or not."""
    root = original_model(model)
    return (_whole.get(root) or dict(named_parameters(root))).values()


@contextmanager
def joined(model: nn.Module) -> Iterator[Parameters]:
    """Have all parameters of a model whole on this worker, inside the context.

    All workers enter it together; what runs inside of it sends nothing.

    Yields
    ------
    mapping of str to nn.Parameter
        What optimizers hold, by name: the DTensors, where there are any.

    Notes
    -----
    The memory of the whole model.
    """
    root = original_model(model)
    if root in _whole:
        yield _whole[root]
        return
    held = dict(named_parameters(model))
    if not any(map(is_cut, held.values())):
        yield held
        return
    _whole[root] = held
    try:
        with ExitStack() as undo:
            twins = _twins.setdefault(root, {})
            for _, module in named_modules(model):
                _silence(module, undo)
                _make_whole(module, twins, undo)
            yield held
    finally:
        del _whole[root]


def is_cut(parameter: Tensor) -> bool:
    """Tell a DTensor."""
    return type(parameter) is not nn.Parameter and any(
        kind.__name__ == "DTensor" for kind in type(parameter).__mro__
    )


def cut_like(piece: Tensor, like: Any) -> Any:
    """Return the DTensor of which this worker holds a piece, cut up as another is."""
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(
        piece,
        like.device_mesh,
        like.placements,
        run_check=False,
        shape=like.shape,
        stride=like.stride(),
    )


def _make_whole(module: nn.Module, twins: Twins, undo: ExitStack) -> None:
    """Put the whole form of each DTensor of a module itself in its place."""
    for own, parameter in list(module.named_parameters(recurse=False)):
        if is_cut(parameter):
            twin = _filled(twins, parameter, undo)
            undo.callback(setattr, module, own, parameter)
            setattr(module, own, twin)


def _filled(twins: Twins, parameter: Any, undo: ExitStack) -> nn.Parameter:
    """Return the whole form of a parameter, one and the same at each time."""
    with torch.no_grad():
        whole = parameter.full_tensor()
        if id(parameter) not in twins:
            twins[id(parameter)] = parameter, nn.Parameter(whole.clone())
        _, twin = twins[id(parameter)]
        storage = twin.untyped_storage()
        storage.resize_(whole.numel() * whole.element_size())
        twin.copy_(whole)
    twin.requires_grad_(parameter.requires_grad)
    undo.callback(storage.resize_, 0)
    return twin


def _silence(module: nn.Module, undo: ExitStack) -> None:
    """Have no hooks of tensor parallelism on a module that is whole."""
    for hooks in forward_hooks(module):
        for number, hook in list(hooks.items()):
            if hook.__module__.startswith("torch.distributed.tensor"):
                undo.callback(hooks.__setitem__, number, hook)
                hooks[number] = _nothing  # in its place among the others


def _nothing(*args: Any) -> None:
    """Leave what passes as it is."""
