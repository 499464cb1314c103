import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from core.backends import Backend
from core.cases import SEEDS, Case, cases, normal
from core.tolerance import ERROR, assert_close, assert_symmetric, unit
from hypothesis import given
from hypothesis import strategies as st

from rgo_core import (
    DiagonalProjection,
    LowRankProjection,
    Relative,
    SecondMoment,
    consolidate,
    forgetting_bound,
    free_directions,
    normalize,
    optimal_projection,
    plasticity,
    projected_curvature,
    recursive_least_loss,
    update_projection,
)

INTEGERS = np.ones((2, 2), dtype=np.int64)
ONE = np.asarray(1.0)
STEPS = {"steps": 1, "learning_rate": 0.1}
REAL = "must be an array of real floating-point numbers, got dtype"
SQUARE = "must have shape (..., n, n), got (2, 3)"


@given(seed=SEEDS)
def test_the_recursive_least_loss_is_the_quadratic_form_entry_by_entry(
    backend: Backend, seed: int
) -> None:
    theta, optimum, root = normal(seed, 3), normal(seed + 1, 3), normal(seed + 2, 3, 3)
    H, d = root @ root.T, theta - optimum
    terms = [d[i] * H[i, j] * d[j] / 2 for i in range(3) for j in range(3)]
    found = backend.call(recursive_least_loss, theta, optimum, H)
    assert_close(found, np.asarray(sum(terms)), scale=float(np.sum(np.abs(terms))))


@given(seed=SEEDS)
def test_the_projected_curvature_is_the_largest_eigenvalue_of_the_product(
    backend: Backend, seed: int
) -> None:
    left, right = normal(seed, 4, 4), normal(seed + 1, 4, 2)
    P, H = left @ left.T, right @ right.T
    found = backend.call(projected_curvature, P, H)
    expected = np.max(np.linalg.eigvals(P @ H).real)
    scale = float(np.linalg.norm(P, 2) * np.linalg.norm(H, 2))
    assert_close(found, np.asarray(expected), scale=scale)


def test_a_projection_that_closes_a_direction_for_good_does_not_meet_it(
    backend: Backend,
) -> None:
    closed = np.diag([0.0, 1.0, 2.0])
    found = backend.call(projected_curvature, closed, np.diag([9.0, 1.0, 0.0]))
    assert_close(found, np.asarray(1.0))


def test_the_bound_is_the_printed_one_over_what_the_second_order_leaves(
    backend: Backend,
) -> None:
    curvature, loss = np.asarray([1.0, 2.0]), np.asarray([3.0, 5.0])
    options = {"steps": 4, "learning_rate": 0.5}
    printed = backend.call(forgetting_bound, curvature, loss, **options)
    assert_close(printed, np.asarray([3.0, 10.0]))
    smoothness = np.asarray([2.0, 4.0])
    holding = backend.call(
        forgetting_bound, curvature, loss, smoothness=smoothness, **options
    )
    np.testing.assert_array_equal(holding, np.asarray([6.0, np.inf]))


@given(case=cases())
def test_the_optimal_projection_of_the_damped_hessian_is_that_of_consolidation(
    backend: Backend, case: Case
) -> None:
    H = case.damping * case.information
    found = backend.call(optimal_projection, H)
    assert_symmetric(found)
    assert_close(found, case.projection, condition=case.condition)


@given(case=cases())
def test_the_plasticity_is_the_mean_eigenvalue_of_the_raw_projection(
    backend: Backend, case: Case
) -> None:
    found = backend.call(plasticity, case.inverse)
    mean = np.mean(1 / np.linalg.eigvalsh(case.information))
    assert_close(found, mean, condition=case.condition)
    scaled = backend.call(plasticity, case.projection)
    assert abs(scaled - 1) <= ERROR * unit(case.condition)


@given(seed=SEEDS, share=st.floats(1e-3, 1e3))
def test_a_relative_damping_leaves_some_of_every_step_free(
    backend: Backend, seed: int, share: float
) -> None:
    # alpha / (alpha + x) is convex: its mean is no less than it is at the mean.
    vectors = normal(seed, 9, 4) * 10.0 ** normal(seed + 1, 9, 1)
    moment = SecondMoment(vectors.T @ vectors, np.asarray(9))
    raw = backend.call(consolidate, moment, Relative(share), normalized=False)
    free = float(backend.call(plasticity, raw))
    assert free >= share / (1 + share) * (1 - 1e-9)


def test_where_nothing_was_observed_everything_is_free(backend: Backend) -> None:
    empty = SecondMoment(np.zeros((5, 5)), np.asarray(0))
    raw = backend.call(consolidate, empty, 1.0, normalized=False)
    assert backend.call(plasticity, raw) == 1
    assert backend.call(free_directions, raw) == 5


@given(case=cases())
def test_the_scale_of_a_projection_does_not_change_its_free_directions(
    backend: Backend, case: Case
) -> None:
    raw = backend.call(free_directions, case.inverse)
    scaled = backend.call(free_directions, backend.call(normalize, case.inverse))
    eigenvalues = 1 / np.linalg.eigvalsh(case.information)
    expected = np.asarray(np.sum(eigenvalues) ** 2 / np.sum(eigenvalues**2))
    assert_close(raw, expected, condition=case.condition)
    assert_close(scaled, expected, condition=case.condition)


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [("float16", 1.0), ("float32", 1e-25), ("float32", 1e25), ("float64", 1e-200)],
)
def test_squares_out_of_range_do_not_count_in_free_directions(
    dtype: str, scale: float
) -> None:
    ones = np.asarray([scale] * 300, dtype=dtype)
    closed = LowRankProjection(np.eye(300, dtype=dtype)[:200], ones[0])
    assert free_directions(np.diag(ones)) == pytest.approx(300, rel=1e-5)
    assert free_directions(DiagonalProjection(ones)) == pytest.approx(300, rel=1e-5)
    assert free_directions(closed) == pytest.approx(100, rel=1e-5)


def test_groups_have_their_own_bounds(backend: Backend) -> None:
    P = np.stack([Case(normal(seed, 5, 3), 0.5).inverse for seed in range(2)])
    H = np.stack([Case(normal(seed, 5, 3), 0.5).information for seed in range(2, 4)])
    theta, optimum = normal(4, 2, 3), normal(5, 2, 3)
    calls: list[tuple[Callable[..., Any], tuple[np.ndarray, ...]]] = [
        (recursive_least_loss, (theta, optimum, H)),
        (projected_curvature, (P, H)),
        (optimal_projection, (H,)),
        (plasticity, (P,)),
        (free_directions, (P,)),
    ]
    for function, arguments in calls:
        together = backend.call(function, *arguments)
        for group in range(2):
            alone = backend.call(function, *(each[group] for each in arguments))
            condition = float(np.linalg.cond(H[group]))
            assert_close(together[group], alone, condition=condition)


@pytest.mark.parametrize(
    ("function", "arguments", "options", "error", "message"),
    [
        (
            recursive_least_loss,
            (np.ones(2, dtype=np.int64), np.ones(2), np.eye(2)),
            {},
            TypeError,
            f"parameters {REAL}",
        ),
        (
            recursive_least_loss,
            (np.ones(2), np.ones(2), INTEGERS),
            {},
            TypeError,
            f"hessian {REAL}",
        ),
        (
            recursive_least_loss,
            (np.ones(2), np.ones(2), np.ones((2, 3))),
            {},
            ValueError,
            f"hessian {SQUARE}",
        ),
        (
            recursive_least_loss,
            (np.ones(3), np.ones(2), np.eye(2)),
            {},
            ValueError,
            "parameters must have n = 2 features along axis -1, got shape (3,)",
        ),
        (
            recursive_least_loss,
            (np.ones(2), np.ones(3), np.eye(2)),
            {},
            ValueError,
            "optimum must have n = 2 features along axis -1, got shape (3,)",
        ),
        (
            projected_curvature,
            (INTEGERS, np.eye(2)),
            {},
            TypeError,
            f"projection {REAL}",
        ),
        (projected_curvature, (np.eye(2), INTEGERS), {}, TypeError, f"hessian {REAL}"),
        (
            projected_curvature,
            (np.ones((2, 3)), np.eye(2)),
            {},
            ValueError,
            f"projection {SQUARE}",
        ),
        (
            projected_curvature,
            (np.eye(2), np.ones((2, 3))),
            {},
            ValueError,
            f"hessian {SQUARE}",
        ),
        (
            projected_curvature,
            (np.eye(2), np.eye(3)),
            {},
            ValueError,
            "hessian must have n = 2 features along axis -1, got shape (3, 3)",
        ),
        (forgetting_bound, (INTEGERS, ONE), STEPS, TypeError, f"curvature {REAL}"),
        (forgetting_bound, (ONE, INTEGERS), STEPS, TypeError, f"loss {REAL}"),
        (
            forgetting_bound,
            (ONE, ONE),
            STEPS | {"steps": 0},
            ValueError,
            "steps must be an integer >= 1, got 0",
        ),
        (
            forgetting_bound,
            (ONE, ONE),
            STEPS | {"steps": 1.5},
            ValueError,
            "steps must be an integer >= 1, got 1.5",
        ),
        (
            forgetting_bound,
            (ONE, ONE),
            STEPS | {"learning_rate": 0.0},
            ValueError,
            "learning_rate must be a finite number > 0, got 0.0",
        ),
        (optimal_projection, (INTEGERS,), {}, TypeError, f"hessian {REAL}"),
        (optimal_projection, (np.ones((2, 3)),), {}, ValueError, f"hessian {SQUARE}"),
        (
            optimal_projection,
            (np.diag([1.0, np.nan]),),
            {},
            ValueError,
            "hessian must be finite, got 1 NaN or infinite entries",
        ),
        (
            optimal_projection,
            (np.asarray([[2.0, 1.0], [0.0, 2.0]]),),
            {},
            ValueError,
            "hessian must be symmetric, got one whose rows and columns differ by 0.75",
        ),
        (plasticity, (INTEGERS,), {}, TypeError, f"projection {REAL}"),
        (plasticity, (np.ones((2, 3)),), {}, ValueError, f"projection {SQUARE}"),
        (free_directions, (INTEGERS,), {}, TypeError, f"projection {REAL}"),
        (free_directions, (np.ones((2, 3)),), {}, ValueError, f"projection {SQUARE}"),
    ],
)
def test_what_is_refused_is_said(
    backend: Backend,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        backend.call(function, *arguments, **options)


def test_a_hessian_with_a_flat_direction_has_no_optimal_projection(
    backend: Backend,
) -> None:
    for hessian in (np.diag([1.0, 0.0]), np.diag([1.0, -1.0])):
        with pytest.raises(ValueError, match="hessian must be positive definite, for"):
            backend.call(optimal_projection, hessian)


def test_in_half_precision_what_needs_factors_has_them_in_float32(
    backend: Backend,
) -> None:
    if not hasattr(backend.xp, "float16"):
        pytest.skip("no half precision")
    H, V = (normal(0, 9, 5).T @ normal(0, 9, 5)).astype(np.float16), normal(1, 2, 5)
    exact, P = H.astype(np.float64), np.eye(5)
    half = backend.call(optimal_projection, H)
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, optimal_projection(exact), rtol=1e-4, atol=1e-5)
    half = backend.call(projected_curvature, P.astype(np.float16), H)
    np.testing.assert_allclose(half, projected_curvature(P, exact), rtol=1e-5)
    half = backend.call(update_projection, *(x.astype(np.float16) for x in (P, V)), 1.0)
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, update_projection(P, V, 1.0), atol=2e-3)


def test_what_is_not_symmetric_is_refused_in_half_precision_too(
    backend: Backend,
) -> None:
    if not hasattr(backend.xp, "float16"):
        pytest.skip("no half precision")
    swapped = np.eye(64, dtype=np.float16)[[63, *range(63)]] + 3 * np.eye(
        64, dtype=np.float16
    )
    with pytest.raises(ValueError, match="hessian must be symmetric, got"):
        backend.call(optimal_projection, swapped)
