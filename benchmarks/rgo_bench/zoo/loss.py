"""The loss, the score and the accuracy of logits with one or many positions."""

from collections.abc import Sequence

import torch
from array_api_compat import torch as xp
from torch import Tensor, nn
from torch.nn import functional

import rgo_core
from rgo_bench.zoo.streams import IGNORED, Samples
from rgo_torch.observation.calls import evaluating

TEST_BATCH = 256


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy over samples and positions."""
    return functional.cross_entropy(
        logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORED
    )


def score(model: nn.Module, batch: Sequence[Tensor]) -> Tensor:
    """Return the score of cross-entropy at one or many positions, (b,).

    ``sum_p s_p sqrt(p_y (1 - p_y)) z_y``. Where a sample has many positions their
    gradients would partly cancel in the sum, and what is protected must not depend on
    that: each position has a random sign s_p, so that the expected second moment is
    the sum over the positions. The signs are the same in every pass.
    """
    inputs, labels = batch
    logits: Tensor = model(inputs)
    known = labels != IGNORED
    labels = labels.clamp_min(0)
    weights = rgo_core.ground_truth_weights(logits.detach(), labels, xp=xp) * known
    scores: Tensor = weights * logits.gather(-1, labels[..., None])[..., 0]
    if labels.ndim == 1:
        return scores
    generator = torch.Generator().manual_seed(int(labels.sum()))
    signs = torch.randint(2, labels.shape, generator=generator).to(scores) * 2 - 1
    return (scores * signs).sum(-1)


@torch.no_grad()
def accuracy(model: nn.Module, samples: Samples, batch: int = TEST_BATCH) -> float:
    """Return the accuracy in percent over samples and positions, in eval mode."""
    right = counted = 0
    with evaluating(model):
        for x, y in zip(*(part.split(batch) for part in samples), strict=True):
            known = y != IGNORED
            right += int((model(x).argmax(-1) == y)[known].sum())
            counted += int(known.sum())
    return 100 * right / counted
