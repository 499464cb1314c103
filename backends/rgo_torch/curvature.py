"""The curvature pass: a second look at a task's data, after its training."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from array_api_compat import torch as xp
from torch import Tensor, nn

import rgo_core
from rgo_core import SecondMoment
from rgo_core.curvature import Curvature
from rgo_core.vectors import Per, Reduce
from rgo_torch.layers import Layer, find_layers, original_model
from rgo_torch.parameters import ProjectedParameter, projected_parameters

Score = Callable[[nn.Module, Any], Tensor]

# Vectors are folded into the second moment in blocks: a product of few rows is slow.
BLOCK = 256


def second_moments(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    per: Per = "sample",
    reduce: Reduce = "mean",
    curvature: Curvature = "ground-truth",
    mask: Tensor | None = None,
    score: Score | None = None,
) -> dict[str, SecondMoment]:
    """Return the second moment of the curvature vectors of every projected parameter.

    Runs the model in eval mode (no dropout, running statistics of batch normalisation)
    and restores each module's mode. Frozen parameters are observed too: they may be
    trained again. Parameters, gradients and random state are left as they are.

    Parameters
    ----------
    model : nn.Module
    batches : iterable
        Pairs (x, y) of inputs and integer labels, moved to the model's device; or with
        `score` anything that it takes.
    per : {"sample", "batch"}
        One curvature vector a sample, whatever the batch size, or one a batch, the
        gradient of the summed score.
    reduce : {"mean", "rms"}
        Over a layer's outputs; see `rgo_core.curvature_vectors`.
    curvature : {"ground-truth", "exact"}
        The true class's diagonal of l'' in one backward pass, or the whole l'' in one
        for each class; see `rgo_core.score_cotangents`.
    mask : Tensor (c,) of bool, optional
        True for the classes in play, for a head that serves several tasks.
    score : callable, optional
        For losses other than cross-entropy: ``score(model, batch)`` returns a tensor
        of shape (b,), or (k, b) for k vectors a sample, whose gradient is the curvature
        vector: outputs times a constant (detached) column of the square root of l''.
        `per`, `reduce` apply as always; `curvature` and `mask` do not.

    Returns
    -------
    dict of str to SecondMoment
        By parameter name. Parameters that no output depends on are left out.

    Raises
    ------
    TypeError
        If a batch is not a pair, or the model does not return a tensor of logits.
    ValueError
        If there are no batches, a label is outside the logits' classes, an option is
        not one of those listed, or a logit or vector is NaN or a vector infinite.

    Notes
    -----
    A forward and k backward passes to the layers' outputs (none to the weights), and
    ``n^2`` multiplications a vector in float64.

    References
    ----------
    Liu and Liu (2022), equation 12 and appendix B.1.

    Examples
    --------
    >>> import torch, rgo_torch
    >>> batches = [(torch.randn(8, 3), torch.zeros(8, dtype=torch.int64))]
    >>> moments = rgo_torch.second_moments(torch.nn.Linear(3, 2), batches)
    >>> moments["weight"].matrix.shape, int(moments["weight"].count)
    (torch.Size([3, 3]), 8)
    """
    model = original_model(model)
    layers, _ = find_layers(model)
    parameters = projected_parameters(model, layers)
    blocks = {name: _Block(parameter) for name, parameter in parameters.items()}
    score = _cross_entropy_score(curvature, mask) if score is None else score
    batch_count = 0
    with _evaluating(model), torch.enable_grad():
        for batch in batches:
            with _recorded(layers) as calls:
                scores = score(model, batch)
            _fill_gradients(scores, calls)
            for block in blocks.values():
                block.add(calls, per, reduce)
            batch_count += 1
    if not batch_count:
        raise ValueError("the curvature pass needs at least one batch, got none")
    found = {name: block.finish() for name, block in blocks.items()}
    return {name: moment for name, moment in found.items() if moment is not None}


@dataclass
class _Call:
    """One call of a layer."""

    inputs: Tensor
    outputs: Tensor
    gradients: list[Tensor] = field(default_factory=list)  # one a cotangent


_Calls = dict[Layer, list[_Call]]


class _Block:
    """Gathers the vectors of one parameter and folds them in block by block."""

    def __init__(self, parameter: ProjectedParameter) -> None:
        self._parameter = parameter
        self._moment: SecondMoment | None = None
        self._waiting: list[Tensor] = []

    def add(self, calls: _Calls, per: Per, reduce: Reduce) -> None:
        """Take the vectors of one batch."""
        mine = [c for layer in self._parameter.layers for c in _called(calls, layer)]
        if not mine:
            return
        inputs = torch.cat([inputs for inputs, _ in mine], dim=-2)
        gradients = torch.cat([gradients for _, gradients in mine], dim=-2)
        if self._parameter.is_bias:
            vectors = rgo_core.bias_vectors(_join_groups(gradients), per=per, xp=xp)
        else:
            vectors = rgo_core.curvature_vectors(
                inputs, gradients, per=per, reduce=reduce, xp=xp
            )
        self._waiting.append(vectors)
        if sum(v.shape[-2] for v in self._waiting) >= BLOCK:
            self._fold()

    def finish(self) -> SecondMoment | None:
        """Return the second moment, or None where the layers were never called."""
        if self._waiting:
            self._fold()
        return self._moment

    def _fold(self) -> None:
        parameter = self._parameter
        vectors = torch.cat(self._waiting, dim=-2).to(parameter.moment_device)
        self._waiting = []
        if self._moment is None:
            self._moment = rgo_core.empty_moment(
                parameter.features,
                groups=parameter.matrix_shape[:-2],
                device=parameter.moment_device,
                xp=xp,
            )
        try:
            self._moment = rgo_core.observe(self._moment, vectors, xp=xp)
        except ValueError as error:
            raise ValueError(f"{parameter.name}: {error}") from error


def _called(calls: _Calls, layer: Layer) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield X (..., b, p, n) and D (..., k, b, p, m) of every call of a layer."""
    for call in calls[layer]:
        if call.gradients:
            dtype = torch.promote_types(call.outputs.dtype, torch.float32)
            rows = [layer.output_rows(gradient) for gradient in call.gradients]
            gradients = torch.stack(rows, dim=-4 if layer.groups == 1 else 1)
            yield layer.input_rows(call.inputs).to(dtype), gradients.to(dtype)


def _join_groups(gradients: Tensor) -> Tensor:
    """See (g, k, b, p, m / g) as (k, b, p, m)."""
    if gradients.ndim == 4:
        return gradients
    return gradients.permute(1, 2, 3, 0, 4).flatten(3)


@contextmanager
def _recorded(layers: Sequence[Layer]) -> Iterator[_Calls]:
    """Record what goes in and out of every layer during a forward pass."""
    calls: _Calls = {layer: [] for layer in layers}

    def record(layer: Layer) -> Callable[..., Tensor]:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Tensor) -> Tensor:
            inputs = args[0] if args else kwargs["input"]
            # Below frozen parameters nothing asks for a gradient yet.
            output = output if output.requires_grad else output.requires_grad_()
            calls[layer].append(_Call(inputs.detach(), output))
            return output

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


def _fill_gradients(scores: Tensor, calls: _Calls) -> None:
    """Backpropagate each row of scores to the outputs of every call."""
    if not isinstance(scores, Tensor) or scores.ndim == 0:
        raise TypeError(
            "a score must be a tensor of shape (b,) or (k, b), "
            f"got {'a scalar' if isinstance(scores, Tensor) else type(scores).__name__}"
        )
    if not bool(torch.isfinite(scores).all()):
        raise ValueError("the score of a batch must be finite, got NaN or infinity")
    rows = scores[None] if scores.ndim == 1 else scores
    all_calls = [call for of_layer in calls.values() for call in of_layer]
    for number, row in enumerate(rows, 1):
        gradients = torch.autograd.grad(
            row.sum(),
            [call.outputs for call in all_calls],
            retain_graph=number < len(rows),
            allow_unused=True,
        )
        for call, gradient in zip(all_calls, gradients, strict=True):
            if gradient is not None:
                call.gradients.append(gradient)


def _cross_entropy_score(curvature: Curvature, mask: Tensor | None) -> Score:
    def score(model: nn.Module, batch: Any) -> Tensor:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise TypeError(
                "a batch must be a pair (x, y) of inputs and integer labels, got "
                f"{type(batch).__name__}; pass score= for anything else"
            )
        device = next(model.parameters()).device
        inputs, labels = (tensor.to(device) for tensor in batch)
        logits = model(inputs)
        if not isinstance(logits, Tensor):
            raise TypeError(
                "the model must return a tensor of logits, got "
                f"{type(logits).__name__}; pass score= for anything else"
            )
        values = logits.detach()
        _check_logits(values, labels)
        classes = None if mask is None else mask.to(device)
        cotangents = rgo_core.score_cotangents(
            values, labels, curvature=curvature, mask=classes, xp=xp
        )
        if curvature == "exact" and classes is not None and classes.ndim == 1:
            cotangents = cotangents[classes]  # the others are zero
        # A head may mask classes with minus infinity: zero times that is no number.
        zero = torch.zeros((), dtype=logits.dtype, device=device)
        return torch.where(cotangents != 0, cotangents * logits, zero).sum(-1)

    return score


def _check_logits(logits: Tensor, labels: Tensor) -> None:
    if bool(torch.isnan(logits).any()):
        raise ValueError("the model's logits must be numbers, got NaN")
    if labels.is_floating_point() or labels.numel() == 0:
        return  # refused with a message of its own
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= logits.shape[-1]:
        raise ValueError(
            f"labels must lie in 0..{logits.shape[-1] - 1}, the classes of the logits, "
            f"got {low}..{high}"
        )


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put every module into eval mode, and back into its own."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
