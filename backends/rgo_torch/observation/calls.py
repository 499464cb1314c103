"""The calls of a model's layers, with what backpropagates to their outputs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from rgo_torch.encoding.hooks import is_encoded
from rgo_torch.layers.layer import Call, Layer
from rgo_torch.layers.sample_axes import padded
from rgo_torch.modules.buffers import unmoved
from rgo_torch.modules.hooks import remove_all
from rgo_torch.modules.torch_private import is_view
from rgo_torch.modules.trees import flatten, leaves_of, map_tensors, unflatten
from rgo_torch.observation.score import Score, check_scores
from rgo_torch.parameters.parameter import ProjectedParameter

Calls = dict[Layer, list[Call]]


def observed_calls(
    layers: Sequence[Layer],
    model: nn.Module,
    score: Score,
    batch: Any,
    look: Callable[[Tensor, Calls], None] | None = None,
) -> tuple[Calls, int]:
    """Run one batch; return the calls that the scores depend on, and b.

    `look` sees scores and all calls before the graph is gone.
    """
    with _recorded(layers) as calls, torch.compiler.set_stance("force_eager"):
        scores = score(model, batch)
    check_scores(scores, batch)
    if look is not None:
        look(scores, calls)
    _fill_gradients(scores, [call for of_layer in calls.values() for call in of_layer])
    found = {
        layer: [call for call in of_layer if call.gradients]
        for layer, of_layer in calls.items()
    }
    return found, scores.shape[-1]


@contextmanager
def _recorded(layers: Sequence[Layer]) -> Iterator[Calls]:
    """Record what goes in and out of every layer during a forward pass."""
    calls: Calls = {layer: [] for layer in layers}

    def record(layer: Layer) -> Callable[..., Any]:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
            output = _apart(output)
            call = layer.seen(_call(args, kwargs, output))
            if call.outputs:
                calls[layer].append(call)
            return output

        return hook

    handles = [
        layer.module.register_forward_hook(
            record(layer),
            # What it gives out is encoded after it was recorded.
            prepend=layer.records_first or is_encoded(layer.module),
            with_kwargs=True,
        )
        for layer in layers
    ]
    try:
        yield calls
    finally:
        remove_all(handles)


def _apart(output: Any) -> Any:
    """Give each output a node of its own in the graph, that stays in it.

    One of several may have been computed from another, as the state of an LSTM from its
    cell: the gradient of that one must not hold what reaches it through the first. And
    what overwrites a view, as a ReLU in place does, leaves its node out of the graph.
    """
    leaves, spec = flatten(output)
    own = [leaf for leaf in leaves if _is_differentiable(leaf)]
    if len(own) < 2 and not any(map(is_view, own)):
        return output
    return unflatten([x.clone() if _is_differentiable(x) else x for x in leaves], spec)


def _is_differentiable(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.requires_grad


def _call(args: Any, kwargs: Any, output: Any) -> Call:
    """Return a call, its arguments cut from the graph: copies of nested ones alone."""
    args, kwargs = map_tensors(_detached, (args, kwargs))
    found = {
        place: get_gradient_edge(leaf)
        for place, leaf in enumerate(leaves_of(output))
        if _is_differentiable(leaf)
    }
    devices = {
        leaf.device.type for leaf in leaves_of(output) if _is_differentiable(leaf)
    }
    cast = next(filter(torch.is_autocast_enabled, sorted(devices)), None)
    autocast = None if cast is None else (cast, torch.get_autocast_dtype(cast))
    return Call(args, kwargs, list(found.values()), list(found), autocast=autocast)


def _detached(leaf: Any) -> Any:
    return padded(leaf.detach()) if isinstance(leaf, Tensor) else leaf


def _fill_gradients(scores: Tensor, calls: Sequence[Call]) -> None:
    """Backpropagate each row of scores to the outputs of every call it depends on."""
    edges = [edge for call in calls for edge in call.outputs]
    if not (edges and scores.requires_grad):
        return
    rows = scores[None] if scores.ndim == 1 else scores
    for number, row in enumerate(rows, 1):
        gradients = iter(
            torch.autograd.grad(
                row.sum(),
                edges,
                retain_graph=number < len(rows),
                allow_unused=True,  # for every row or for none: they are of one tensor
            )
        )
        for call in calls:
            of_call = [_detached(next(gradients)) for _ in call.outputs]
            if any(gradient is not None for gradient in of_call):
                call.gradients.append(of_call)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Have a model in eval mode and without caches, and put back what that changes."""
    with unmoved(model), evaluating(model), uncached(model):
        yield


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put every module into eval mode, and back into its own.

    By `train` where a class has its own: one may empty what it caches in eval mode, or
    take out what it has merged there. It may set modes of others, which are put back.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            if type(module).train is not nn.Module.train:
                module.train(mode)
        for module, mode in modes:
            module.training = mode


@contextmanager
def uncached(model: nn.Module) -> Iterator[None]:
    """Switch off caches and sparse gradients, which vectors of samples have no use for.

    Models of transformers fill caches in eval mode. Nothing is generated, and
    state-space and recurrent ones write theirs in place, which neither autograd nor
    `torch.func` can go back through. Nor can it see an EmbeddingBag's samples apart
    whose gradients are sparse.
    """
    modules = list(model.modules())
    found: list[tuple[Any, str]] = [
        (getattr(module, "config", None), "use_cache") for module in modules
    ]
    found += [(m, "sparse") for m in modules if isinstance(m, nn.EmbeddingBag)]
    on = {id(o): (o, name) for o, name in found if getattr(o, name, None) is True}
    for owner, name in on.values():
        setattr(owner, name, False)
    try:
        yield
    finally:
        for owner, name in on.values():
            setattr(owner, name, True)


@contextmanager
def thawed(parameters: Iterable[ProjectedParameter]) -> Iterator[None]:
    """Let gradients reach the outputs of frozen layers too."""
    frozen = [p.tensor for p in parameters if not p.tensor.requires_grad]
    for tensor in frozen:
        tensor.requires_grad_(True)
    try:
        yield
    finally:
        for tensor in frozen:
            tensor.requires_grad_(False)
