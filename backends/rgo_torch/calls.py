"""The calls of a model's layers, with what backpropagates to their outputs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from rgo_torch.layer import Layer
from rgo_torch.parameters import ProjectedParameter
from rgo_torch.score import Score, check_scores


@dataclass
class Call:
    """One call of a layer."""

    inputs: Tensor
    # The output as the layer returned it: what follows may overwrite the tensor.
    output: GradientEdge
    gradients: list[Tensor] = field(default_factory=list)  # one a cotangent


Calls = dict[Layer, list[Call]]


def input_rows(layer: Layer, call: Call) -> Tensor:
    """Return X (..., b, p, n) of a call."""
    return layer.input_rows(call.inputs).to(_working_dtype(call))


def gradient_rows(layer: Layer, call: Call) -> Tensor:
    """Return D (..., k, b, p, m) of a call."""
    rows = [layer.output_rows(gradient) for gradient in call.gradients]
    return torch.stack(rows, dim=-4).to(_working_dtype(call))


def _working_dtype(call: Call) -> torch.dtype:
    return torch.promote_types(call.gradients[0].dtype, torch.float32)


def observed_calls(
    layers: Sequence[Layer], model: nn.Module, score: Score, batch: Any
) -> Calls:
    """Run one batch; return every layer's calls that the scores depend on."""
    with _recorded(layers) as calls, torch.compiler.set_stance("force_eager"):
        scores = score(model, batch)
    check_scores(scores)
    _fill_gradients(scores, [call for of_layer in calls.values() for call in of_layer])
    return {
        layer: [call for call in of_layer if call.gradients]
        for layer, of_layer in calls.items()
    }


@contextmanager
def _recorded(layers: Sequence[Layer]) -> Iterator[Calls]:
    """Record what goes in and out of every layer during a forward pass."""
    calls: Calls = {layer: [] for layer in layers}

    def record(layer: Layer) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Tensor) -> None:
            if output.requires_grad:
                inputs = args[0] if args else kwargs["input"]
                edge = get_gradient_edge(output)
                calls[layer].append(Call(inputs.detach(), edge))

        return hook

    handles = [
        # Before the encoder's hook, which permutes what the layer returns.
        layer.module.register_forward_hook(
            record(layer), prepend=True, with_kwargs=True
        )
        for layer in layers
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _fill_gradients(scores: Tensor, calls: Sequence[Call]) -> None:
    """Backpropagate each row of scores to the outputs of every call it depends on."""
    if not (calls and scores.requires_grad):
        return
    rows = scores[None] if scores.ndim == 1 else scores
    for number, row in enumerate(rows, 1):
        gradients = torch.autograd.grad(
            row.sum(),
            [call.output for call in calls],
            retain_graph=number < len(rows),
            allow_unused=True,  # for every row or for none: they are of one tensor
        )
        for call, gradient in zip(calls, gradients, strict=True):
            if gradient is not None:
                call.gradients.append(gradient)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put every module into eval mode, and back into its own."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


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
