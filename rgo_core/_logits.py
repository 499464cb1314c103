"""Logits, masks and labels: checked, and as probabilities and indicators."""

import math

from rgo_core._checks import check_axes, check_floating
from rgo_core._matrices import widened
from rgo_core._namespace import device_of, is_traced
from rgo_core._typing import Array, Namespace

# Of the logarithm of a sum of probabilities, in float32.
ROUNDING = 1e-5
PROBABILITIES = (
    "the outputs look like probabilities and are taken for logits: of a network that "
    "ends in softmax or sigmoid the curvature comes out far too small, and protects "
    "little; have it return logits or, of a softmax, their logarithm"
)
FEW = 16  # outputs that may all lie in [0, 1] by chance


def softmax(logits: Array, mask: Array | None, xp: Namespace) -> Array:
    """Return the probabilities of the classes in play; the others have zero.

    In float32 at the least: in half precision a sum over many classes overflows.
    """
    check_floating("logits", logits, xp)
    check_axes("logits", logits, 1, "(..., c)")
    logits = widened(logits, xp)
    if mask is not None:
        check_mask(logits, mask, xp)
        none = ~xp.all(xp.any(mask, axis=-1))
        if not is_traced(none) and bool(none):
            raise ValueError("mask must leave a class in play, got none")
        logits = xp.where(mask, logits, xp.full_like(logits, -xp.inf))
    raised = xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))
    return raised / xp.sum(raised, axis=-1, keepdims=True)


def are_log_probabilities(logits: Array, xp: Namespace) -> Array:
    """Tell, as an array of bool without axes, a logarithmic softmax from logits."""
    rounding = _rounding(logits, xp)
    logits = widened(logits, xp)
    highest = xp.max(logits, axis=-1, keepdims=True)
    sums = xp.sum(xp.exp(logits - highest), axis=-1, keepdims=True)
    return xp.all(xp.abs(highest + xp.log(sums)) < rounding)


def _rounding(outputs: Array, xp: Namespace) -> float:
    """Return what a sum of probabilities, or its logarithm, may differ from 1 or 0 by.

    That of each logarithm weighs by its probability: eps times the entropy.
    """
    eps = float(xp.finfo(outputs.dtype).eps)
    return max(ROUNDING, eps * (1 + math.log(outputs.shape[-1])))


def are_probabilities(outputs: Array, xp: Namespace, *, one: bool) -> Array:
    """Tell, as an array of bool, what softmax or sigmoid gave out from logits.

    With `one` each row must sum to 1, too.
    """
    found = xp.all((outputs >= 0) & (outputs <= 1)) & (math.prod(outputs.shape) >= FEW)
    sums = xp.sum(widened(outputs, xp), axis=-1)
    near = xp.abs(sums - 1) < _rounding(outputs, xp)
    return found & xp.all(near) if one else found


def check_mask(logits: Array, mask: Array, xp: Namespace) -> None:
    """Raise unless `mask` is of bool, and tells of each class of `logits`."""
    if not xp.isdtype(mask.dtype, "bool"):
        raise TypeError(f"mask must be an array of bool, got dtype {mask.dtype}")
    if mask.shape[-1:] != logits.shape[-1:]:
        raise ValueError(
            f"mask must have the {logits.shape[-1]} classes of the logits, "
            f"got shape {tuple(mask.shape)}"
        )
    lead = zip(mask.shape[-2::-1], logits.shape[-2::-1], strict=False)
    if mask.ndim > logits.ndim or any(m not in (1, n) for m, n in lead):
        raise ValueError(
            "mask must be one for all samples, or one for each of logits of shape "
            f"{tuple(logits.shape)}, got shape {tuple(mask.shape)}"
        )


def one_hot(logits: Array, labels: Array, xp: Namespace) -> Array:
    """Return (..., c) of bool: True for the class that the labels name."""
    if not xp.isdtype(labels.dtype, "integral"):
        raise TypeError(f"labels must be integers, got dtype {labels.dtype}")
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"labels must have shape {tuple(logits.shape[:-1])} for logits of shape "
            f"{tuple(logits.shape)}, whose classes lie along the last axis, got "
            f"{tuple(labels.shape)}"
        )
    # The labels' own dtype may not count to the last class: 8 bits would begin again.
    classes = xp.arange(logits.shape[-1], device=device_of(labels))
    wide = xp.astype(labels, classes.dtype, copy=False)
    return wide[..., None] == classes
