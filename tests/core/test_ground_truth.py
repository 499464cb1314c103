"""The curvature of the true class alone, and what is backpropagated for it."""

import numpy as np
import pytest
from core.backends import Backend
from core.cases import SEEDS, normal
from core.hessians import (
    CLASSES,
    LABELS,
    LOGITS,
    MASKS,
    cross_entropy_hessian,
    masked_hessian,
)
from core.tolerance import assert_close
from hypothesis import given
from hypothesis import strategies as st

from rgo_core import (
    ground_truth_weights,
    score_cotangents,
    softmax_hessian,
    softmax_hessian_root,
)
from rgo_core.cotangents import LEAST_CURVATURE


@given(logits=LOGITS, label=LABELS)
def test_the_weight_is_the_root_of_the_true_class_s_diagonal(
    backend: Backend, logits: np.ndarray, label: int
) -> None:
    weight = backend.call(ground_truth_weights, logits, np.asarray(label))
    expected = cross_entropy_hessian(logits)[label, label]
    assert_close(weight**2, np.asarray(expected), scale=1.0)


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("apart", [10.0, 40.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_confident_network_keeps_its_weight(
    backend: Backend, dtype: type, apart: float, label: int
) -> None:
    # 1 - p is zero in float32 from 17 on, in float64 from 37 on.
    logits = np.asarray([[apart, 0.0, -apart]], dtype=dtype)
    weight = backend.call(ground_truth_weights, logits, np.asarray([label]))
    others = np.exp(-apart) + np.exp(-2 * apart)
    p = np.exp(-label * apart) / (1 + others)
    expected = np.sqrt(p * (others if label == 0 else 1 + np.exp(-2 * apart)))
    expected = np.sqrt(expected**2 / (1 + others))
    assert_close(weight, np.asarray([expected]), condition=apart, dtype=dtype)


@pytest.mark.parametrize("module", ["numpy", "torch"])
def test_in_half_precision_probabilities_of_many_classes_are_not_zero(
    module: str,
) -> None:
    xp = pytest.importorskip(module)
    logits = xp.zeros((1, 100_000), dtype=xp.float16)  # whose sum is above 65504
    weight = ground_truth_weights(logits, xp.asarray([1]))
    assert float(weight[0]) == pytest.approx(1e-5**0.5, rel=1e-4)
    root = softmax_hessian_root(xp.zeros((2,), dtype=xp.float16))
    assert root.dtype == xp.float32


@given(logits=LOGITS, mask=MASKS, label=LABELS)
def test_the_weight_counts_the_classes_in_play(
    backend: Backend, logits: np.ndarray, mask: np.ndarray, label: int
) -> None:
    weight = backend.call(ground_truth_weights, logits, np.asarray(label), mask=mask)
    expected = masked_hessian(logits, mask)[label, label]
    assert_close(weight**2, np.asarray(expected), scale=1.0)
    if not mask[label]:
        assert weight == 0


@given(logits=LOGITS, mask=MASKS, label=LABELS, least=st.floats(0.0, 0.25))
def test_a_least_curvature_raises_what_is_below_it_and_no_more(
    backend: Backend, logits: np.ndarray, mask: np.ndarray, label: int, least: float
) -> None:
    given = (ground_truth_weights, logits, np.asarray(label))
    plain = backend.call(*given, mask=mask)
    found = backend.call(*given, mask=mask, least=least)
    expected = np.maximum(plain**2, least) if mask[label] else np.zeros(())
    assert_close(found**2, expected, scale=1.0)
    np.testing.assert_array_equal(backend.call(*given, mask=mask, least=0.0), plain)


@pytest.mark.parametrize("least", [-0.1, 0.26, np.nan])
def test_a_least_curvature_that_none_can_have_is_refused(
    backend: Backend, least: float
) -> None:
    with pytest.raises(ValueError, match=r"least must lie in 0\.\.0\.25, got"):
        backend.call(
            ground_truth_weights, np.zeros((1, 2)), np.asarray([0]), least=least
        )


@pytest.mark.parametrize("are_logarithms", [False, True])
def test_a_fitted_sample_counts_where_curvature_is_floored(
    backend: Backend, are_logarithms: bool
) -> None:
    logits = np.asarray([[6.0, 0.0, 0.0], [0.0, 0.5, 0.0]])
    labels = np.asarray([0, 1])
    if are_logarithms:
        logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    truth = p[[0, 1], labels]
    assert truth[0] * (1 - truth[0]) < LEAST_CURVATURE < truth[1] * (1 - truth[1])
    plain = backend.call(score_cotangents, logits, labels)
    found = backend.call(score_cotangents, logits, labels, curvature="floored")
    assert_close(found[0, 1], plain[0, 1])  # its curvature is above the floor
    cotangent = np.sqrt(LEAST_CURVATURE)
    if are_logarithms:  # it has to undo the softmax's gradient
        cotangent /= 1 - truth[0]
    expected = np.asarray([cotangent, 0.0, 0.0])
    assert_close(found[0, 0], expected, condition=1 / (1 - truth[0]))


@given(seed=SEEDS)
def test_leading_axes_of_labels_are_a_loop(backend: Backend, seed: int) -> None:
    logits = normal(seed, 2, 3, CLASSES)
    labels = np.random.default_rng(seed).integers(0, CLASSES, size=(2, 3))
    weights = backend.call(ground_truth_weights, logits, labels)
    for index in np.ndindex(2, 3):
        alone = backend.call(
            ground_truth_weights, logits[index], np.asarray(labels[index])
        )
        assert_close(weights[index], alone)


# --- the cotangents


@given(logits=LOGITS, mask=MASKS, label=LABELS)
def test_exact_cotangents_sum_to_the_hessian(
    backend: Backend, logits: np.ndarray, mask: np.ndarray, label: int
) -> None:
    cotangents = backend.call(
        score_cotangents, logits, np.asarray(label), curvature="exact", mask=mask
    )
    assert cotangents.shape == (CLASSES, CLASSES)
    total = sum(np.outer(cotangent, cotangent) for cotangent in cotangents)
    assert_close(total, masked_hessian(logits, mask), scale=1.0)


@given(seed=SEEDS)
def test_cotangents_come_before_the_samples(backend: Backend, seed: int) -> None:
    logits = normal(seed, 2, 3, CLASSES)
    labels = np.random.default_rng(seed).integers(0, CLASSES, size=(2, 3))
    truth = backend.call(score_cotangents, logits, labels)
    exact = backend.call(score_cotangents, logits, labels, curvature="exact")
    assert truth.shape == (1, 2, 3, CLASSES)
    assert exact.shape == (CLASSES, 2, 3, CLASSES)
    for index in np.ndindex(2, 3):
        root = backend.call(softmax_hessian_root, logits[index])
        for c in range(CLASSES):
            assert_close(exact[c][index], root[:, c], scale=1.0)


@given(seed=SEEDS)
def test_the_ground_truth_s_cotangent_is_the_gradient_of_the_score(
    backend: Backend, seed: int
) -> None:
    logits = normal(seed, 3, CLASSES)
    labels = np.random.default_rng(seed).integers(0, CLASSES, size=3)
    mask = np.asarray([True, True, False, True])
    for options in ({}, {"mask": mask}):
        cotangents = backend.call(score_cotangents, logits, labels, **options)
        weights = backend.call(ground_truth_weights, logits, labels, **options)
        expected = np.zeros((1, 3, CLASSES))
        for sample, label in enumerate(labels):
            expected[0, sample, label] = weights[sample]
        np.testing.assert_array_equal(cotangents, expected)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int32", "uint64"])
def test_a_label_of_few_bits_is_one_class_among_many(
    backend: Backend, dtype: str
) -> None:
    cotangents = backend.call(
        score_cotangents, np.zeros((2, 300)), np.asarray([0, 100], dtype=dtype)
    )
    assert np.argwhere(cotangents).tolist() == [[0, 0, 0], [0, 1, 100]]


@given(seed=SEEDS, shift=st.floats(-5, 5))
def test_of_log_probabilities_of_two_classes_either_label_gives_the_hessian(
    backend: Backend, seed: int, shift: float
) -> None:
    logits = shift + normal(seed, 3, 2)
    labels = np.random.default_rng(seed).integers(0, 2, size=3)
    logs = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    (cotangents,) = backend.call(score_cotangents, logs, labels)
    # Backpropagated through the logarithmic softmax.
    total = cotangents.sum(-1, keepdims=True)
    found = cotangents - np.exp(logs) * total
    outer = found[:, :, None] * found[:, None, :]
    assert_close(outer, backend.call(softmax_hessian, logits), scale=1.0)


def test_of_log_probabilities_a_sample_fitted_to_rounding_counts_as_nothing() -> None:
    logs = np.asarray([[-1e-17, -40.0], [-0.5, np.log1p(-np.exp(-0.5))]])
    (cotangents,) = score_cotangents(logs, np.asarray([0, 0]))
    assert np.isfinite(cotangents).all()
    assert np.abs(cotangents[0]).max() <= 1e-4
    assert cotangents[1, 0] == pytest.approx(np.sqrt(1 / np.expm1(0.5)))
