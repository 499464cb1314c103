"""What is refused of batches of pairs, and what to do where their loss has no name."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rgo_core._logits import PROBABILITIES, are_probabilities
from rgo_core.cotangents import IndependentLoss
from rgo_torch.modules.warning import warn_caller

# What to do where a batch is none.
SINGLE = "pass batches, as of a DataLoader, or x[None] and y[None] of each sample"

# What PyTorch's losses ignore.
IGNORED = -100


def checked_pair(batch: Any) -> tuple[Tensor, Tensor]:
    """Return inputs and labels or targets; raise TypeError of any other batch."""
    pair = isinstance(batch, tuple | list) and len(batch) == 2
    if not pair or not all(isinstance(part, Tensor) for part in batch):
        kind = type(batch).__name__
        if isinstance(batch, tuple | list):
            kind += f" of {[type(part).__name__ for part in batch]}"
        remedy = (
            "pass score= for anything else, as score=lambda model, batch: "
            "rgo_torch.label_score(model(*batch[:-1]), batch[-1], "
            "curvature=rgo.curvature)"
        )
        if isinstance(batch, Tensor):
            remedy = f"of one pair pass a list, [(x, y)]; {remedy}"
        if isinstance(batch, Mapping) and "labels" in batch:
            remedy = (
                "pass score=cross_entropy_score(curvature=rgo.curvature), of "
                "rgo_torch.integrations.huggingface, for batches with labels"
            )
        raise TypeError(
            "a batch must be a pair (x, y) of tensors, inputs and integer labels, got "
            f"{kind}; {remedy}"
        )
    inputs, labels = batch
    return inputs, labels


def checked_mask(mask: Any) -> Tensor:
    """Return a mask; raise TypeError of what is no tensor."""
    if not isinstance(mask, Tensor):
        raise TypeError(f"mask must be a tensor of bool, got {type(mask).__name__}")
    return mask


def check_numbers(logits: Tensor) -> None:
    """Raise ValueError of NaN; minus infinity is a mask."""
    if bool(torch.isnan(logits).any()):
        raise ValueError("the model's logits must be numbers, got NaN")


def warn_of_probabilities(values: Tensor, xp: Any, *, one: bool) -> None:
    """Warn where outputs are those of a softmax (`one`) or a sigmoid."""
    if bool(are_probabilities(values, xp, one=one)):
        warn_caller(PROBABILITIES)


def check_kind_of_labels(logits: Tensor, labels: Tensor) -> None:
    """Raise unless `labels` are one integer for each sample of logits (b, c)."""
    if labels.is_floating_point() or labels.is_complex():
        raise TypeError(
            f"labels must be integers, got dtype {labels.dtype}: for regression pass "
            "loss='squared-error', for a target of 0 or 1 per output loss='binary', "
            "and for probabilities as labels, as of mixup, score=lambda model, batch: "
            "rgo_torch.label_score(model(batch[0]), batch[1].argmax(-1))"
        )
    expected, given = tuple(logits.shape[:-1]), tuple(labels.shape)
    if given != expected:
        raise ValueError(
            f"labels must have shape {expected} for logits of shape "
            f"{tuple(logits.shape)}, whose classes lie along the last axis, got "
            f"{given}{_remedy(logits, given)}"
        )
    if logits.ndim == 1:
        raise ValueError(
            f"expected logits (b, c) of a batch, got {tuple(logits.shape)} of a sample "
            f"with a label of shape (): {SINGLE}"
        )
    if logits.ndim > 2:
        raise ValueError(
            f"logits of {logits.ndim} axes, {tuple(logits.shape)}, need score=, for "
            "their labels are of positions, as of tokens or pixels: pass "
            "score=lambda model, batch: rgo_torch.label_score(model(batch[0]), "
            "batch[1])"
        )


def _remedy(logits: Tensor, given: tuple[int, ...]) -> str:
    shape = tuple(logits.shape)
    if given == shape:
        return ": of a label 0 or 1 for each output pass loss='binary'"
    if len(shape) > 2 and given == (shape[0], *shape[2:]):
        return (
            ": where the classes are along the second axis, as of pixels, move them in "
            "a score, score=lambda model, batch: "
            "rgo_torch.label_score(model(batch[0]).movedim(1, -1), batch[1])"
        )
    return ""


def check_classes(logits: Tensor, labels: Tensor, classes: Tensor | None) -> None:
    """Refuse a label outside the logits' classes, or one that is masked."""
    if not labels.numel():
        return
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= logits.shape[-1]:
        raise ValueError(
            f"labels must lie in 0..{logits.shape[-1] - 1}, the classes of the logits, "
            f"got {low}..{high}{_remedy_of_range(logits, low)}"
        )
    if classes is not None:
        logits = torch.where(classes, logits, -torch.inf)
    masked = torch.isneginf(logits.gather(-1, labels.long()[..., None]))[..., 0]
    if bool(masked.any()):
        raise ValueError(
            "labels must be of classes in play, got masked "
            f"{sorted(set(labels[masked].tolist()))}"
        )


def _remedy_of_range(logits: Tensor, low: int) -> str:
    if low == IGNORED:
        return (
            f": what is ignored, {IGNORED}, needs score=lambda model, batch: "
            "rgo_torch.label_score(model(batch[0]), batch[1])"
        )
    if logits.shape[-1] == 1:
        return (
            ": of one logit for two classes pass loss='binary', with targets of the "
            f"logits' shape {tuple(logits.shape)}"
        )
    return ""


def check_targets(
    inputs: Tensor, outputs: Tensor, targets: Tensor, loss: IndependentLoss
) -> None:
    """Raise ValueError unless `targets` are shaped as outputs (b, c) or (b,)."""
    shape = tuple(outputs.shape)
    if targets.shape != outputs.shape:
        raise ValueError(
            f"loss={loss!r} expects targets of the outputs' shape {shape}, got "
            f"{tuple(targets.shape)}"
        )
    # Inputs of more axes may have time, or nodes of graphs, along the first.
    is_single = outputs.ndim == inputs.ndim == 1 and len(inputs) != len(outputs)
    if outputs.ndim == 0 or is_single:
        raise ValueError(
            f"loss={loss!r} expects outputs (b, c) or (b,) of a batch, got {shape} for "
            f"inputs {tuple(inputs.shape)}, as of one sample: {SINGLE}"
        )
    if outputs.ndim > 2:
        raise ValueError(
            f"loss={loss!r} expects outputs of shape (b, c) or (b,), got {shape}: have "
            "the model flatten the axes after the first (one backward pass for each "
            "output), or pass score=, of which each row may be a sum over positions"
        )
