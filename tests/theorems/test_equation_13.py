"""Equations 12 and 13 and appendix B.1: the curvature of softmax cross-entropy.

l'' = diag(p) - p p^T, its root, and what the true class's diagonal alone estimates.
"""

from typing import Any

import numpy as np
import torch
from core.backends import Backend
from core.cases import SEEDS, normal
from core.tolerance import EIGENVALUE, ERROR, assert_close, unit
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from theorems.laws import LAW

from rgo_core import (
    curvature_vectors,
    ground_truth_weights,
    score_cotangents,
    sigmoid_curvature,
    softmax_hessian,
    softmax_hessian_root,
    squared_error_curvature,
)

# Few, because JAX compiles for each shape.
CLASSES = st.sampled_from((2, 3, 5))
LOGITS = CLASSES.flatmap(
    lambda c: arrays(np.float64, c, elements=st.floats(-20, 20, width=32))
)


def autodiff_hessian(backend: Backend, logits: np.ndarray, label: int) -> np.ndarray:
    """Differentiate cross-entropy twice: by JAX on JAX, else by PyTorch."""
    if backend.name == "jax":
        return np.asarray(_jax_hessian(backend.array(logits), label))

    def loss(z: torch.Tensor) -> torch.Tensor:
        return torch.logsumexp(z, 0) - z[label]

    found = torch.autograd.functional.hessian(loss, torch.tensor(logits))
    return np.asarray(found)


def _jax_hessian(logits: Any, label: int) -> Any:
    import jax

    def loss(z: Any, y: Any) -> Any:
        return jax.nn.logsumexp(z) - z[y]

    return _COMPILED.setdefault("hessian", jax.jit(jax.hessian(loss)))(logits, label)


_COMPILED: dict[str, Any] = {}


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - np.max(logits))
    return powers / np.sum(powers)


@LAW
@given(logits=LOGITS, seed=SEEDS)
def test_equation_13_is_what_autodiff_gives_whatever_the_label(
    backend: Backend, logits: np.ndarray, seed: int
) -> None:
    found = backend.call(softmax_hessian, logits)
    expected = autodiff_hessian(backend, logits, seed % len(logits))
    # Logits up to 20 are rounded to eps * 20, and p by as much.
    assert_close(found, expected, condition=20.0, scale=1.0)


@LAW
@given(logits=LOGITS)
def test_equation_12_the_columns_are_a_root_of_it(
    backend: Backend, logits: np.ndarray
) -> None:
    root = backend.call(softmax_hessian_root, logits)
    p = softmax(logits)
    assert_close(root @ root.T, np.diag(p) - np.outer(p, p), condition=20.0, scale=1.0)
    label = np.asarray(0)
    columns = backend.call(score_cotangents, logits, label, curvature="exact")
    np.testing.assert_array_equal(columns.T, root)


@LAW
@given(logits=LOGITS)
def test_it_is_positive_semi_definite_and_flat_along_the_constant(
    backend: Backend, logits: np.ndarray
) -> None:
    hessian = backend.call(softmax_hessian, logits)
    assert np.linalg.eigvalsh(hessian)[0] >= -EIGENVALUE * unit()
    assert np.linalg.norm(np.sum(hessian, axis=1)) <= ERROR * unit() * len(logits)
    # Gershgorin: no eigenvalue above 2 p (1 - p) <= 1/2.
    assert np.linalg.eigvalsh(hessian)[-1] <= 0.5 + EIGENVALUE * unit()


@LAW
@given(logit=st.floats(-30, 30, width=32))
def test_binary_cross_entropy_is_as_autodiff_gives_too(
    backend: Backend, logit: float
) -> None:
    def loss(z: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.softplus(z, threshold=100).sum()

    x = torch.tensor([logit], dtype=torch.float64)
    expected = torch.autograd.functional.hessian(loss, x).item()
    found = backend.call(sigmoid_curvature, np.asarray([logit]))
    # PyTorch forms 1 - p, which cancels to eps.
    assert abs(found[0] - expected) <= ERROR * unit()


@LAW
@given(output=st.floats(-30, 30, width=32))
def test_squared_error_is_as_autodiff_gives_too(
    backend: Backend, output: float
) -> None:
    def loss(z: torch.Tensor) -> torch.Tensor:
        return ((z - 1) ** 2).sum() / 2

    x = torch.tensor([output], dtype=torch.float64)
    expected = torch.autograd.functional.hessian(loss, x).item()
    assert backend.call(squared_error_curvature, np.asarray([output])) == expected


@LAW
@given(seed=SEEDS, n=st.sampled_from((2, 3)), m=st.sampled_from((2, 4)))
def test_the_vectors_sum_to_the_mean_of_the_outputs_blocks_of_the_hessian(
    backend: Backend, seed: int, n: int, m: int
) -> None:
    # The Hessian of the loss in W (n x m) has the blocks l''_jk x x^T.
    x, logits = normal(seed, n), 3 * normal(seed + 1, m)
    columns = softmax_hessian_root(logits).T[:, None, None, :]
    inputs = x[None, None, :]
    found = backend.call(curvature_vectors, inputs, columns, reduce="rms")
    p = softmax(logits)
    expected = np.outer(x, x) * np.mean(p * (1 - p))
    assert_close(found.T @ found, expected, scale=float(x @ x), condition=10.0)


@LAW
@given(seed=SEEDS, m=st.sampled_from((2, 4)))
def test_of_the_exact_curvature_the_mean_over_the_logits_is_zero(
    backend: Backend, seed: int, m: int
) -> None:
    # The constant is flat, so that the last layer sees nothing by reduce="mean".
    x, logits = normal(seed, 3), 3 * normal(seed + 1, m)
    columns = softmax_hessian_root(logits).T[:, None, None, :]
    found = backend.call(curvature_vectors, x[None, None, :], columns)
    assert np.linalg.norm(found) <= ERROR * unit() * np.linalg.norm(x)
    true_class = score_cotangents(logits, np.asarray(0))[:, None, None, :]
    kept = backend.call(curvature_vectors, x[None, None, :], true_class)
    p = softmax(logits)[0]
    expected = np.linalg.norm(x) * np.sqrt(p * (1 - p)) / m
    assert abs(np.linalg.norm(kept) - expected) <= 1e2 * unit() * np.linalg.norm(x)


def drawn_labels_mean(backend: Backend, logits: np.ndarray) -> np.ndarray:
    """Average the estimate's diagonal over labels that are drawn from p."""
    c = len(logits)
    weights = backend.call(
        ground_truth_weights, np.broadcast_to(logits, (c, c)), np.arange(c)
    )
    return softmax(logits) * weights**2


@LAW
@given(logits=LOGITS)
def test_the_ground_truth_diagonal_is_biased_by_the_class_probability(
    backend: Backend, logits: np.ndarray
) -> None:
    p = softmax(logits)
    mean = drawn_labels_mean(backend, logits)
    diagonal = np.diag(backend.call(softmax_hessian, logits))
    assert_close(mean, p * diagonal, condition=20.0, scale=1.0)
    # Never too large, and at most max(p) of the trace.
    assert np.all(mean <= diagonal + ERROR * unit(20.0))
    assert np.sum(mean) <= np.max(p) * np.sum(diagonal) + ERROR * unit(20.0)
    # The weight 1 - p_y in place of p_y (1 - p_y) would have no bias.
    assert_close(p * (1 - p), diagonal, condition=20.0, scale=1.0)


def test_of_a_network_that_knows_nothing_it_sees_one_part_in_c_of_the_trace(
    backend: Backend,
) -> None:
    for c in (2, 10, 100):
        seen = np.sum(drawn_labels_mean(backend, np.zeros(c)))
        trace = np.trace(backend.call(softmax_hessian, np.zeros(c)))
        assert abs(c * seen / trace - 1) <= ERROR * unit(float(c))


@LAW
@given(margin=st.floats(1, 12), c=CLASSES)
def test_of_a_network_that_is_sure_and_right_it_sees_half_of_the_trace(
    backend: Backend, margin: float, c: int
) -> None:
    # With p_y = 1 - e the others' p (1 - p) sum to between e (1 - e) and e.
    logits = np.zeros(c)
    logits[0] = margin
    weight = backend.call(ground_truth_weights, logits, np.asarray(0))
    share = weight**2 / np.trace(backend.call(softmax_hessian, logits))
    e = 1 - softmax(logits)[0]
    slack = ERROR * unit(20.0 / e)
    assert (1 - e) / (2 - e) - slack <= share <= 0.5 + slack


def test_of_two_classes_it_sees_half_the_trace_in_a_direction_that_is_partly_flat(
    backend: Backend,
) -> None:
    hessian = backend.call(softmax_hessian, np.asarray([1.0, 0.0]))
    estimate = np.diag([hessian[0, 0], 0.0])
    assert abs(np.trace(estimate) / np.trace(hessian) - 0.5) <= ERROR * unit()
    # Neither is below the other: along (1, 1) only the estimate is curved.
    difference = np.linalg.eigvalsh(hessian - estimate)
    assert difference[0] < -0.1 * hessian[0, 0] < 0.1 * hessian[0, 0] < difference[1]
