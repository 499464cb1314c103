import numpy as np
import pytest
from core.backends import Backend
from core.cases import SEEDS, normal
from core.hessians import (
    CLASSES,
    LOGITS,
    MASKS,
    cross_entropy_hessian,
    hessian,
    masked_hessian,
    probabilities,
)
from core.tolerance import ERROR, assert_close, unit
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rgo_core import (
    independent_cotangents,
    independent_weights,
    sigmoid_curvature,
    softmax_hessian,
    softmax_hessian_root,
    squared_error_curvature,
)

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


@pytest.mark.parametrize("loss", ["binary", "squared-error"])
def test_a_sample_without_outputs_in_play_has_no_curvature(
    backend: Backend, loss: str
) -> None:
    mask = np.asarray([[True, False], [False, False]])
    found = backend.call(independent_weights, np.ones((2, 2)), loss=loss, mask=mask)
    assert not found[1].any()
    assert found[0].any()
