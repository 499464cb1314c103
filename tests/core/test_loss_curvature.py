from typing import Any

import numpy as np
import pytest
from core.backends import Backend
from core.cases import SEEDS, normal
from core.tolerance import ERROR, assert_close, unit
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rgo_core import (
    ground_truth_weights,
    independent_cotangents,
    independent_weights,
    score_cotangents,
    sigmoid_curvature,
    softmax_hessian,
    softmax_hessian_root,
    squared_error_curvature,
)
from rgo_core.cotangents import LEAST_CURVATURE

CLASSES = 4
# Undecided, confident, and beyond what an exponential can hold.
LOGITS = arrays(
    np.float64,
    CLASSES,
    elements=st.floats(-4, 4) | st.floats(-40, 40) | st.sampled_from([-1e3, 1e3]),
)
LABELS = st.integers(0, CLASSES - 1)
MASKS = arrays(np.bool_, CLASSES).filter(np.any)


def hessian(loss: str, outputs: np.ndarray, *arguments: Any) -> np.ndarray:
    """Differentiate one of PyTorch's losses twice, in the outputs."""
    torch = pytest.importorskip("torch")
    function = getattr(torch.nn.functional, loss)
    twice = torch.autograd.functional.hessian(
        lambda z: function(z, *arguments, reduction="sum"),
        torch.asarray(np.array(outputs)),
    )
    return twice.numpy()


def cross_entropy_hessian(logits: np.ndarray) -> np.ndarray:
    """Differentiate cross-entropy twice; the label makes no difference."""
    torch = pytest.importorskip("torch")
    return hessian("cross_entropy", logits, torch.asarray(0))


def masked_hessian(logits: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Differentiate the cross-entropy of the classes in play; zero for the others."""
    expected = np.zeros((CLASSES, CLASSES))
    expected[np.ix_(mask, mask)] = cross_entropy_hessian(logits[mask])
    return expected


def probabilities(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - np.max(logits))
    return raised / np.sum(raised)


# --- the softmax's l'' and its root


@given(logits=LOGITS)
def test_the_hessian_is_that_of_cross_entropy(
    backend: Backend, logits: np.ndarray
) -> None:
    result = backend.call(softmax_hessian, logits)
    assert_close(result, cross_entropy_hessian(logits), scale=1.0)


@given(logits=LOGITS, mask=MASKS)
def test_masked_classes_are_out_of_play(
    backend: Backend, logits: np.ndarray, mask: np.ndarray
) -> None:
    result = backend.call(softmax_hessian, logits, mask=mask)
    assert_close(result, masked_hessian(logits, mask), scale=1.0)
    np.testing.assert_array_equal(result[~mask], 0)
    np.testing.assert_array_equal(result[:, ~mask], 0)


@given(logits=LOGITS)
def test_the_hessian_is_positive_semi_definite_and_ignores_a_shift_of_all(
    backend: Backend, logits: np.ndarray
) -> None:
    result = backend.call(softmax_hessian, logits)
    assert np.linalg.eigvalsh(result)[0] >= -ERROR * unit()
    assert_close(result @ np.ones(CLASSES), np.zeros(CLASSES), scale=1.0)


@given(logits=LOGITS, mask=MASKS)
def test_the_columns_of_the_root_are_the_formula_s(
    backend: Backend, logits: np.ndarray, mask: np.ndarray
) -> None:
    root = backend.call(softmax_hessian_root, logits, mask=mask)
    p = np.zeros(CLASSES)
    p[mask] = probabilities(logits[mask])
    for c in range(CLASSES):
        column = np.sqrt(p[c]) * (np.eye(CLASSES)[c] - p)
        assert_close(root[:, c], column, scale=1.0)
    assert_close(root @ root.T, masked_hessian(logits, mask), scale=1.0)


@given(seed=SEEDS)
def test_leading_axes_of_logits_are_a_loop(backend: Backend, seed: int) -> None:
    logits = normal(seed, 2, 3, CLASSES)
    masks = np.random.default_rng(seed).random((2, 3, CLASSES)) < 0.5
    masks[..., 0] = True
    for function in (softmax_hessian, softmax_hessian_root):
        for mask in (masks, masks[0, 0], None):
            together = backend.call(function, logits, mask=mask)
            for index in np.ndindex(2, 3):
                own = mask[index] if mask is masks else mask
                alone = backend.call(function, logits[index], mask=own)
                assert_close(together[index], alone, scale=1.0)


# --- the ground truth's weights


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


# --- other losses


@given(logits=arrays(np.float64, 3, elements=st.floats(-4, 4)))
def test_the_sigmoid_s_curvature_is_that_of_binary_cross_entropy(
    backend: Backend, logits: np.ndarray
) -> None:
    torch = pytest.importorskip("torch")
    result = backend.call(sigmoid_curvature, logits)
    target = torch.asarray([0.0, 1.0, 0.5], dtype=torch.float64)
    expected = hessian("binary_cross_entropy_with_logits", logits, target)
    assert_close(np.diag(result), expected, scale=1.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_sigmoid_s_curvature_is_even_and_stays_positive_far_out(
    backend: Backend, dtype: type
) -> None:
    logits = np.asarray([-1000.0, -40.0, 40.0, 1000.0], dtype=dtype)
    result = backend.call(sigmoid_curvature, logits)
    expected = np.exp(np.asarray([-1000.0, -40.0, -40.0, -1000.0]))
    assert_close(result[:1], expected[:1])
    assert_close(result[1:3], expected[1:3], condition=40, dtype=dtype)
    np.testing.assert_array_equal(result, result[::-1])


def test_the_squared_error_s_curvature_is_one(backend: Backend) -> None:
    outputs = normal(0, 3)
    torch = pytest.importorskip("torch")
    result = backend.call(squared_error_curvature, outputs)
    twice_ours = hessian("mse_loss", outputs, torch.zeros(3, dtype=torch.float64))
    np.testing.assert_array_equal(np.diag(2 * result), twice_ours)


@given(outputs=arrays(np.float64, (3, CLASSES), elements=st.floats(-4, 4)), mask=MASKS)
@pytest.mark.parametrize("loss", ["binary", "squared-error"])
def test_the_cotangents_of_independent_outputs_are_a_root_of_l(
    backend: Backend, loss: str, outputs: np.ndarray, mask: np.ndarray
) -> None:
    found = backend.call(independent_cotangents, outputs, loss=loss, mask=mask)
    assert found.shape == (CLASSES, 3, CLASSES)
    weights = backend.call(independent_weights, outputs, loss=loss, mask=mask)
    np.testing.assert_array_equal(found.sum(0), weights)
    torch_loss, target = {
        "binary": ("binary_cross_entropy_with_logits", 0.3),
        "squared-error": ("mse_loss", 0.3),
    }[loss]
    for row, output in enumerate(outputs):
        torch = pytest.importorskip("torch")
        expected = hessian(torch_loss, output, torch.full((CLASSES,), target).double())
        expected = expected / (2 if loss == "squared-error" else 1)
        expected = np.where(mask, expected, 0) * mask[:, None]
        root = found[:, row]
        assert_close(root.T @ root, expected, condition=1e3)


def test_a_loss_without_independent_outputs_is_refused() -> None:
    message = "loss must be 'binary' or 'squared-error', got 'cross-entropy'"
    with pytest.raises(ValueError, match=message):
        independent_cotangents(np.zeros((1, 2)), loss="cross-entropy")  # type: ignore[arg-type]


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
