"""Gradients of the scores are the curvature vectors of cross-entropy, by autograd."""

from typing import Any

import pytest
import torch
from array_api_compat import torch as xp
from torch import Tensor
from torch_backend.tolerance import assert_near

import rgo_core
from rgo_core.cotangents import CURVATURES
from rgo_torch.observation.labels import IGNORED, label_score

CLASSES = 5


def logits_and_labels(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(len(shape))
    logits = torch.randn(*shape, CLASSES, generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), torch.randint(CLASSES, shape, generator=generator)


def gradient(scores: Tensor, logits: Tensor) -> Tensor:
    return torch.autograd.grad(scores.sum(), logits, retain_graph=True)[0]


def expected_gradient(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """One position after another, its probabilities by the definition."""
    expected = torch.zeros_like(logits)
    rows = expected.view(-1, CLASSES)
    for row, z, y in zip(rows, logits.view(-1, CLASSES), labels.view(-1), strict=True):
        if y == IGNORED:
            continue
        p = torch.where(mask, z.detach().exp(), 0.0)
        p = p / p.sum()
        row[y] = (p[y] * (1 - p[y])).sqrt()
    return expected


@pytest.mark.parametrize("shape", [(4,), (4, 3), (2, 3, 2)])
@pytest.mark.parametrize("masked", [False, True])
def test_the_gradient_is_the_root_of_the_true_class_s_curvature(
    shape: tuple[int, ...], masked: bool
) -> None:
    logits, labels = logits_and_labels(*shape)
    mask = torch.ones(CLASSES, dtype=torch.bool)
    if masked:
        mask[2] = False
        labels = torch.where(labels == 2, 1, labels)
    labels.view(-1)[-1] = IGNORED
    scores = label_score(logits, labels, mask=mask if masked else None)
    assert scores.shape == shape[:1]
    assert_near(gradient(scores, logits), expected_gradient(logits, labels, mask))


@pytest.mark.parametrize("shape", [(4,), (4, 3)])
def test_the_exact_scores_square_to_the_hessian(shape: tuple[int, ...]) -> None:
    logits, labels = logits_and_labels(*shape)
    labels.view(-1)[-1] = IGNORED
    scores = label_score(logits, labels, curvature="exact")
    assert scores.shape == (CLASSES, shape[0])
    columns = torch.stack([gradient(row, logits) for row in scores], dim=-1)
    squares = columns @ columns.mT
    p = logits.detach().softmax(-1)
    hessian = torch.diag_embed(p) - p[..., None] * p[..., None, :]
    counted = (labels != IGNORED)[..., None, None]
    assert_near(squares, torch.where(counted, hessian, 0.0))


@pytest.mark.parametrize("curvature", CURVATURES)
def test_log_probabilities_are_scored_as_a_sample_s_are(curvature: Any) -> None:
    logits, labels = logits_and_labels(2, 3)
    logs = logits.log_softmax(-1)
    scores = label_score(logs, labels, curvature=curvature)
    cotangents = rgo_core.score_cotangents(
        logs.detach(), labels, curvature=curvature, xp=xp
    )
    expected = (cotangents * logs).sum((-1, -2))
    assert_near(scores, expected if curvature == "exact" else expected[0])


def test_the_score_of_a_sample_without_labels_is_zero() -> None:
    logits, labels = logits_and_labels(2, 3)
    labels[0] = IGNORED
    scores = label_score(logits, labels)
    assert scores[0] == 0
    assert not gradient(scores, logits)[0].any()
    labels[1] = IGNORED
    assert not label_score(logits, labels).any()


def test_log_probabilities_are_known_whatever_stands_where_labels_do_not() -> None:
    logits, labels = logits_and_labels(4, 3)
    logs = logits.log_softmax(-1)
    alone = label_score(logs[:3], labels[:3])
    padded = logs * (torch.arange(4) < 3)[:, None, None]
    labels[3] = IGNORED
    assert_near(label_score(padded, labels)[:3], alone)


def test_probabilities_of_half_precision_are_taken_in_float32() -> None:
    logits, labels = logits_and_labels(4)
    halved = logits.detach().half().requires_grad_()
    found = gradient(label_score(halved, labels), halved)
    exact = halved.detach().double().requires_grad_()
    assert_near(found, gradient(label_score(exact, labels), exact))


def test_labels_that_are_no_classes_are_refused() -> None:
    logits, labels = logits_and_labels(4)
    with pytest.raises(
        TypeError,
        match=r"must be integers, got torch\.float32; pass score= for other losses",
    ):
        label_score(logits, labels.float())
    with pytest.raises(TypeError, match=r"must be integers, got torch\.bool"):
        label_score(logits, labels > 1)
    with pytest.raises(ValueError, match=r"must have shape \(4,\) .*, got \(2, 2\)"):
        label_score(logits, labels.reshape(2, 2))
    with pytest.raises(
        ValueError,
        match=r"must lie in 0\.\.4, .* of the logits, or be -100, got 0\.\.5",
    ):
        label_score(logits, torch.tensor([0, 1, 2, 5]))
    mask = torch.tensor([True, True, True, True, False])
    with pytest.raises(ValueError, match=r"classes in play, got masked \[4\]"):
        label_score(logits, torch.tensor([0, 1, 2, 4]), mask=mask)
