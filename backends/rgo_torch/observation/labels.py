"""The score of cross-entropy for labels of positions, some of them ignored."""

import torch
from array_api_compat import torch as xp
from torch import Tensor

import rgo_core
from rgo_core.cotangents import Curvature, true_class_weights
from rgo_torch.observation.pairs import IGNORED


def label_score(
    logits: Tensor,
    labels: Tensor,
    *,
    curvature: Curvature = "ground-truth",
    mask: Tensor | None = None,
) -> Tensor:
    """Return the score of labels for each position of a sample, as of tokens or pixels.

    Its gradient is the curvature vector of cross-entropy, summed over the positions:
    of the true class ``sqrt(p (1 - p)) z``, the root taken as constant. For ``score=``
    of `second_moments` and `RGO.end_task`, where a label is not of a whole sample or
    some are ignored.

    Parameters
    ----------
    logits : Tensor (b, ..., c)
        With the classes along the last axis (``movedim(1, -1)`` of images), or their
        logarithmic softmax.
    labels : Tensor (b, ...) of integers
        In 0..c-1, or -100 for what the loss ignores.
    curvature : {"ground-truth", "floored", "exact"}
        See `rgo_core.score_cotangents`. `RGO.curvature` is what its damping is of.
    mask : Tensor (c,) of bool, optional
        True for the classes in play.

    Returns
    -------
    Tensor (b,) or (c, b)
        The second for ``curvature="exact"``.

    Raises
    ------
    TypeError
        If labels are not integers, or as `rgo_core.score_cotangents` does.
    ValueError
        If the labels do not have the leading shape of the logits, or are of no class
        in play.

    Notes
    -----
    Probabilities are taken for logits, without a warning. One vector a sample is the
    sum over its positions, which can cancel; ``per="position"`` of `second_moments`
    keeps the positions of linear layers apart.

    References
    ----------
    Liu and Liu (2022), equation 12 and appendix B.1.

    Examples
    --------
    >>> import torch, rgo_torch
    >>> model = torch.nn.Linear(3, 5)  # a class for each of a sample's 4 tokens
    >>> tokens, labels = torch.randn(2, 4, 3), torch.tensor([[0, 1, 2, -100]] * 2)
    >>> rgo_torch.label_score(model(tokens), labels).shape
    torch.Size([2])
    """
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise TypeError(
            f"labels must be integers, got {labels.dtype}; pass score= for other losses"
        )
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"labels must have shape {tuple(logits.shape[:-1])} for logits of shape "
            f"{tuple(logits.shape)}, got {tuple(labels.shape)}; pass score= for others"
        )
    values = logits.detach().to(torch.promote_types(logits.dtype, torch.float32))
    mask = None if mask is None else mask.to(logits.device)
    counted = labels != IGNORED
    _check_labels(labels[counted], values.shape[-1], mask)
    classes = torch.where(counted, labels, 0)
    if curvature == "exact":
        cotangents = rgo_core.score_cotangents(
            values, classes, curvature="exact", mask=mask, xp=xp
        )
        scores = torch.where(cotangents != 0, cotangents * logits, 0.0).sum(-1)
    else:
        weights = torch.zeros_like(values[..., 0])
        weights[counted] = true_class_weights(
            logits.detach()[counted], labels[counted], curvature, mask=mask, xp=xp
        )
        at = classes.long()[..., None]
        scores = (weights * logits.gather(-1, at)[..., 0])[None]
    scores = torch.where(counted, scores, 0.0)[..., None].flatten(2).sum(-1)
    return scores if curvature == "exact" else scores[0]


def _check_labels(labels: Tensor, classes: int, mask: Tensor | None) -> None:
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(
            f"labels must lie in 0..{classes - 1}, the classes of the logits, or be "
            f"{IGNORED}, got {int(labels.min())}..{int(labels.max())}"
        )
    if mask is not None and not bool(mask[labels.long()].all()):
        raise ValueError(
            "labels must be of classes in play, got masked "
            f"{sorted(set(labels[~mask[labels.long()]].tolist()))}"
        )
