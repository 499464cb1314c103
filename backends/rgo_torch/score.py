"""The scores whose gradients are curvature vectors, and what they are formed from."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from array_api_compat import torch as xp
from torch import Tensor, nn

import rgo_core
from rgo_core._checks import check_choice, check_floating
from rgo_core._logits import PROBABILITIES, are_probabilities
from rgo_core.cotangents import LOSSES, Curvature, IndependentLoss, Loss
from rgo_torch.trees import leaves_of
from rgo_torch.warning import warn_caller

Score = Callable[[nn.Module, Any], Tensor]


def loss_score(loss: Loss, curvature: Curvature, mask: Tensor | None) -> Score:
    """Return the score of a loss, for batches of inputs and labels or targets.

    Raises
    ------
    ValueError
        If `loss` is not one of `rgo_core.cotangents.LOSSES`.
    """
    check_choice("loss", loss, LOSSES)
    if loss == "cross-entropy":
        return cross_entropy_score(curvature, mask)
    return independent_score(loss, mask)


def independent_score(loss: IndependentLoss, mask: Tensor | None) -> Score:
    """Return the score of a sum over outputs, for batches of inputs and targets."""

    def score(model: nn.Module, batch: Any) -> Tensor:
        outputs, values, targets, mine = _forward(model, batch, mask)
        if targets.shape != outputs.shape:
            raise ValueError(
                f"loss={loss!r} expects targets of the outputs' shape "
                f"{tuple(outputs.shape)}, got {tuple(targets.shape)}"
            )
        if loss == "binary":
            _warn_of_probabilities(values, one=False)
        if outputs.ndim == 1:  # one output a sample, without an axis
            outputs, values = outputs[:, None], values[:, None]
        weights = rgo_core.independent_weights(values, loss=loss, mask=mine, xp=xp)
        scores = _products(weights, outputs).movedim(-1, 0)
        # The others are zero.
        return scores[mine] if mine is not None and mine.ndim == 1 else scores

    return score


def cross_entropy_score(curvature: Curvature, mask: Tensor | None) -> Score:
    """Return the score of softmax cross-entropy, for batches of inputs and labels."""

    def score(model: nn.Module, batch: Any) -> Tensor:
        logits, values, labels, classes = _forward(model, batch, mask)
        cotangents = rgo_core.score_cotangents(
            values, labels, curvature=curvature, mask=classes, xp=xp
        )
        _check_labels(values, labels, classes)
        _warn_of_probabilities(values, one=True)
        if curvature == "exact" and classes is not None and classes.ndim == 1:
            cotangents = cotangents[classes]  # the others are zero
        return _weighted(cotangents, logits)

    return score


def _forward(
    model: nn.Module, batch: Any, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return outputs, their values, labels and mask, on the model's device."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    inputs, labels = (tensor.to(device) for tensor in _checked_pair(batch))
    classes = None if mask is None else _checked_mask(mask).to(device)
    returned = model(inputs)
    # As the models of transformers return them, among other things.
    logits = getattr(returned, "logits", returned)
    if not isinstance(logits, Tensor):
        raise TypeError(
            "the model must return a tensor of logits, got "
            f"{type(returned).__name__}; pass score= for anything else"
        )
    check_floating("logits", logits, xp)
    # Probabilities in float32 at the least.
    values = logits.detach().to(torch.promote_types(logits.dtype, torch.float32))
    _check_numbers(values)
    return logits, values, labels, classes


def _weighted(cotangents: Tensor, outputs: Tensor) -> Tensor:
    """Return the scores of outputs weighted by cotangents."""
    return _products(cotangents, outputs).sum(-1)


def _products(weights: Tensor, outputs: Tensor) -> Tensor:
    """Return products; what a head masks with minus infinity counts as nothing."""
    return torch.where(weights != 0, weights * outputs, torch.zeros_like(weights))


def _checked_pair(batch: Any) -> tuple[Tensor, Tensor]:
    pair = isinstance(batch, tuple | list) and len(batch) == 2
    if not pair or not all(isinstance(part, Tensor) for part in batch):
        kind = type(batch).__name__
        if isinstance(batch, tuple | list):
            kind += f" of {[type(part).__name__ for part in batch]}"
        remedy = "pass score= for anything else"
        if isinstance(batch, Mapping) and "labels" in batch:
            remedy = (
                "pass score=cross_entropy_score(), of "
                "rgo_torch.integrations.huggingface, for batches with labels"
            )
        raise TypeError(
            "a batch must be a pair (x, y) of tensors, inputs and integer labels, got "
            f"{kind}; {remedy}"
        )
    inputs, labels = batch
    return inputs, labels


def _checked_mask(mask: Any) -> Tensor:
    if not isinstance(mask, Tensor):
        raise TypeError(f"mask must be a tensor of bool, got {type(mask).__name__}")
    return mask


def _check_numbers(logits: Tensor) -> None:
    if bool(torch.isnan(logits).any()):
        raise ValueError("the model's logits must be numbers, got NaN")


def _warn_of_probabilities(values: Tensor, *, one: bool) -> None:
    if bool(are_probabilities(values, xp, one=one)):
        warn_caller(PROBABILITIES)


def _check_labels(logits: Tensor, labels: Tensor, classes: Tensor | None) -> None:
    """Refuse a label outside the logits' classes, or one that is masked."""
    if not labels.numel():
        return
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= logits.shape[-1]:
        raise ValueError(
            f"labels must lie in 0..{logits.shape[-1] - 1}, the classes of the logits, "
            f"got {low}..{high}"
        )
    if classes is not None:
        logits = torch.where(classes, logits, -torch.inf)
    masked = torch.isneginf(logits.gather(-1, labels.long()[..., None]))[..., 0]
    if bool(masked.any()):
        raise ValueError(
            "labels must be of classes in play, got masked "
            f"{sorted(set(labels[masked].tolist()))}"
        )


def check_scores(scores: Any, batch: Any) -> None:
    """Raise unless `scores` are rows of finite numbers, one a sample of the batch.

    What is no tensor, nor made of tensors, does not tell how many samples it has.
    """
    if not isinstance(scores, Tensor):
        raise TypeError(
            "a score must be a tensor of shape (b,) or (k, b), got a "
            f"{type(scores).__name__}"
        )
    leaves = leaves_of(batch)
    samples = {x.shape[0] for x in leaves if isinstance(x, Tensor) and x.ndim}
    fits = scores.ndim in (1, 2) and (not samples or scores.shape[-1] in samples)
    if not fits:
        among = f" for b in {sorted(samples)} samples" if samples else ""
        raise ValueError(
            f"expected scores of shape (b,) or (k, b){among}, got "
            f"{tuple(scores.shape)}: the samples are along the last axis"
        )
    if not bool(torch.isfinite(scores).all()):
        raise ValueError("the score of a batch must be finite, got NaN or infinity")
