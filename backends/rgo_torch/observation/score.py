"""The scores whose gradients are curvature vectors, and what they are formed from."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from array_api_compat import torch as xp
from torch import Tensor, nn

import rgo_core
from rgo_core._checks import check_choice, check_floating
from rgo_core.cotangents import LOSSES, Curvature, IndependentLoss, Loss
from rgo_torch.modules.trees import leaves_of
from rgo_torch.observation.pairs import (
    check_classes,
    check_kind_of_labels,
    check_numbers,
    check_targets,
    checked_mask,
    checked_pair,
    warn_of_probabilities,
)

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
        check_targets(batch[0], outputs, targets, loss)
        if loss == "binary":
            warn_of_probabilities(values, xp, one=False)
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
        check_kind_of_labels(logits, labels)
        cotangents = rgo_core.score_cotangents(
            logits.detach(), labels, curvature=curvature, mask=classes, xp=xp
        )
        check_classes(values, labels, classes)
        warn_of_probabilities(logits.detach(), xp, one=True)
        if curvature == "exact" and classes is not None and classes.ndim == 1:
            cotangents = cotangents[classes]  # the others are zero
        return _weighted(cotangents, logits)

    return score


def _forward(
    model: nn.Module, batch: Any, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return outputs, their values, labels and mask, on the model's device."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    inputs, labels = (tensor.to(device) for tensor in checked_pair(batch))
    classes = None if mask is None else checked_mask(mask).to(device)
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
    check_numbers(values)
    return logits, values, labels, classes


def _weighted(cotangents: Tensor, outputs: Tensor) -> Tensor:
    """Return the scores of outputs weighted by cotangents."""
    return _products(cotangents, outputs).sum(-1)


def _products(weights: Tensor, outputs: Tensor) -> Tensor:
    """Return products; what a head masks with minus infinity counts as nothing."""
    return torch.where(weights != 0, weights * outputs, torch.zeros_like(weights))


def check_gradients_flow() -> None:
    """Raise RuntimeError within `torch.inference_mode`."""
    if torch.is_inference_mode_enabled():
        raise RuntimeError(
            "the curvature pass needs gradients, and torch.inference_mode() records "
            "none: end the task outside of it (torch.no_grad() would do no harm)"
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
    samples = {x.size(0) for x in _tensors(batch) if x.ndim} | _listed(batch)
    fits = scores.ndim in (1, 2) and (not samples or scores.shape[-1] in samples)
    if not fits:
        among = f" for b in {sorted(samples)} samples" if samples else ""
        remedy = (
            ". Where they are right, as where time comes first, one tensor of the "
            "batch must have the samples first: transpose it, and back inside of the "
            "score"
        )
        raise ValueError(
            f"expected scores of shape (b,) or (k, b){among}, got "
            f"{tuple(scores.shape)}: the samples are along the last axis"
            f"{remedy if samples and scores.ndim in (1, 2) else ''}"
        )
    if not bool(torch.isfinite(scores).all()):
        raise ValueError("the score of a batch must be finite, got NaN or infinity")


def _listed(batch: Any) -> set[int]:
    """Return how many samples a batch lists one by one, if it does: one number or none.

    As detectors take them: a list of images, and one of as many mappings of targets, or
    a list of mappings alone. Not where a tensor stands beside the lists, for that tells
    it then, as labels do beside several views of all samples.
    """
    if isinstance(batch, list) and _are_mappings(batch):
        return {len(batch)}
    entries: Iterable[Any] = batch.values() if isinstance(batch, Mapping) else ()
    if isinstance(batch, tuple | list):
        entries = batch
    lengths = {_samples_in(entry) for entry in entries if _tensors(entry)}
    return {n for n in lengths if n is not None} if len(lengths) == 1 else set()


def _samples_in(entry: Any) -> int | None:
    """Return the length of a list of tensors, or of mappings of the same names."""
    if not isinstance(entry, tuple | list) or hasattr(entry, "_fields"):
        return None
    are_tensors = all(isinstance(sample, Tensor) for sample in entry)
    return len(entry) if are_tensors or _are_mappings(entry) else None


def _are_mappings(entries: Iterable[Any]) -> bool:
    names = [each.keys() if isinstance(each, Mapping) else None for each in entries]
    return bool(names) and all(own is not None and own == names[0] for own in names)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in leaves_of(tree) if isinstance(leaf, Tensor)]
