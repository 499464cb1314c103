"""Projections made from second moments, and their scale."""

from typing import Any

import numpy as np
import pytest
from core.backends import Backend
from core.cases import SEEDS, Case, cases, normal, outer_sum, spectral_case
from core.tolerance import (
    EIGENVALUE,
    ERROR,
    LOWEST_AFTER_CAST,
    assert_close,
    assert_symmetric,
    unit,
)
from hypothesis import assume, given

from rgo_core import (
    Relative,
    SecondMoment,
    consolidate,
    empty_moment,
    merge_moments,
    normalize,
    observe,
    update_projection,
)


def moment_of(backend: Backend, vectors: np.ndarray) -> SecondMoment:
    """Observe vectors (..., r, n) on a backend; the moment comes back in NumPy."""
    start = empty_moment(vectors.shape[-1], groups=vectors.shape[:-2])
    return backend.call(observe, start, vectors)


def consolidated(backend: Backend, case: Case, **options: Any) -> np.ndarray:
    """Return the trace-normalised projection of a case."""
    moment = moment_of(backend, case.vectors)
    return backend.call(consolidate, moment, case.damping, **options)


def without(case: Case, vectors: int) -> Case:
    """Return the case before its last `vectors` vectors were seen."""
    return Case(case.vectors[: len(case.vectors) - vectors], case.damping)


@given(case=cases())
def test_a_projection_has_trace_n(backend: Backend, case: Case) -> None:
    error = abs(np.trace(consolidated(backend, case)) - case.features)
    assert error <= ERROR * unit(case.condition) * case.features


@given(case=cases())
def test_a_projection_is_the_explicit_inverse_normalised(
    backend: Backend, case: Case
) -> None:
    assert_close(consolidated(backend, case), case.projection, condition=case.condition)


@pytest.mark.parametrize("log_condition", [0, 5, 10, 13])
def test_a_wide_layer_has_the_explicit_inverse_too(
    backend: Backend, log_condition: int
) -> None:
    case = spectral_case((130, 200), log_condition=log_condition, damping=0.01, seed=1)
    projection = consolidated(backend, case)
    assert_close(projection, case.projection, condition=case.condition)
    assert_symmetric(projection)


@given(case=cases())
def test_the_information_form_is_the_recursion(backend: Backend, case: Case) -> None:
    raw = backend.array(np.eye(case.features))
    for vector in case.vectors:
        raw = update_projection(raw, backend.array(vector), case.damping)
    recursion = backend.to_numpy(normalize(raw))
    assert_close(recursion, consolidated(backend, case), condition=case.growth)
    found = consolidated(backend, case, normalized=False)
    assert_close(backend.to_numpy(raw), found, condition=case.growth)


@given(case=cases())
def test_relative_damping_is_in_units_of_the_mean_diagonal(
    backend: Backend, case: Case
) -> None:
    moment = SecondMoment(outer_sum(case.vectors), np.asarray(len(case.vectors)))
    mean = float(np.trace(moment.matrix)) / case.features
    assume(mean > 0)
    found = backend.call(consolidate, moment, Relative(0.1))
    expected = backend.call(consolidate, moment, 0.1 * mean)
    assert_close(found, expected, condition=case.features / 0.1)
    # Powers of two scale without rounding.
    scaled = SecondMoment(moment.matrix * 1024.0, moment.count)
    again = backend.call(consolidate, scaled, Relative(0.1))
    np.testing.assert_array_equal(again, found)


def test_relative_damping_of_nothing_observed_is_the_identity(
    backend: Backend,
) -> None:
    matrix = np.stack([np.zeros((3, 3)), np.eye(3)])
    moment = SecondMoment(matrix, np.asarray(0))
    found = backend.call(consolidate, moment, Relative(0.1))
    np.testing.assert_array_equal(found[0], np.eye(3))
    assert_close(found[1], np.eye(3))


@given(case=cases())
def test_without_normalisation_no_step_grows(backend: Backend, case: Case) -> None:
    raw = consolidated(backend, case, normalized=False)
    assert_symmetric(raw)
    assert np.linalg.eigvalsh(raw)[-1] <= 1 + ERROR * unit(case.condition)
    scaled = raw * (case.features / np.trace(raw))
    assert_close(consolidated(backend, case), scaled, condition=case.features)


@given(case=cases(), seed=SEEDS)
def test_order_and_blocking_of_the_vectors_do_not_matter(
    backend: Backend, case: Case, seed: int
) -> None:
    shuffled = np.random.default_rng(seed).permutation(case.vectors)
    cut = len(shuffled) // 3
    first, second = (moment_of(backend, x) for x in (shuffled[:cut], shuffled[cut:]))
    moment = backend.call(merge_moments, first, second)
    projection = backend.call(consolidate, moment, case.damping)
    assert_close(projection, consolidated(backend, case), condition=case.condition)


@pytest.mark.parametrize("damping", [1e-6, 1.0, 1e6])
def test_nothing_observed_leaves_exactly_the_identity(
    backend: Backend, damping: float
) -> None:
    moment = empty_moment(4, groups=(2,))
    projection = backend.call(consolidate, moment, damping)
    np.testing.assert_array_equal(projection, np.broadcast_to(np.eye(4), (2, 4, 4)))


def test_a_damping_far_above_the_vectors_leaves_the_identity(
    backend: Backend,
) -> None:
    case = Case(normal(0, 5, 3), damping=1e300)
    assert_close(consolidated(backend, case), np.eye(3))


@given(case=cases())
def test_a_projection_is_symmetric_to_the_last_bit(
    backend: Backend, case: Case
) -> None:
    assert_symmetric(consolidated(backend, case))


@given(case=cases())
def test_twice_the_vectors_with_four_times_the_damping_change_no_bit(
    backend: Backend, case: Case
) -> None:
    scaled = Case(2 * case.vectors, 4 * case.damping)
    np.testing.assert_array_equal(
        consolidated(backend, scaled), consolidated(backend, case)
    )


@given(case=cases())
def test_a_projection_is_positive_definite_and_shrinks_every_direction(
    backend: Backend, case: Case
) -> None:
    eigenvalues = np.linalg.eigvalsh(case.raw(consolidated(backend, case)))
    assert eigenvalues[0] > 0
    assert eigenvalues[-1] <= 1 + EIGENVALUE * unit(case.condition)


@given(case=cases())
def test_more_vectors_leave_less_freedom_in_every_direction(
    backend: Backend, case: Case
) -> None:
    before = without(case, vectors=1)
    loss = before.raw(consolidated(backend, before)) - case.raw(
        consolidated(backend, case)
    )
    assert np.linalg.eigvalsh(loss)[0] >= -EIGENVALUE * unit(case.condition)


@given(case=cases())
def test_along_a_vector_seen_no_more_than_the_damping_is_left(
    backend: Backend, case: Case
) -> None:
    raw = case.raw(consolidated(backend, case))
    for vector in case.vectors:
        left = vector @ raw @ vector
        assert left <= case.damping * (1 + ERROR * unit(case.condition))


@given(case=cases(shapes=((7, 2), (40, 13))))
def test_directions_orthogonal_to_every_vector_stay_free(
    backend: Backend, case: Case
) -> None:
    raw = case.raw(consolidated(backend, case))
    rank = np.linalg.matrix_rank(case.vectors)
    orthogonal = np.linalg.svd(case.vectors)[2][rank:].T
    assert orthogonal.shape[1] >= case.features - len(case.vectors)
    assert_close(raw @ orthogonal, orthogonal, condition=case.condition)


@given(case=cases())
def test_cast_to_float32_a_projection_stays_positive_to_rounding(
    backend: Backend, case: Case
) -> None:
    double = consolidated(backend, case)
    single = consolidated(backend, case, dtype=backend.dtype("float32"))
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single, double.astype(np.float32))
    assert_symmetric(single)
    eigenvalues = np.linalg.eigvalsh(single.astype(np.float64))
    assert eigenvalues[0] >= LOWEST_AFTER_CAST * eigenvalues[-1]


@given(seed=SEEDS)
def test_groups_are_consolidated_as_in_a_loop(backend: Backend, seed: int) -> None:
    vectors = normal(seed, 2, 3, 5, 4)
    together = backend.call(consolidate, moment_of(backend, vectors), 0.5)
    assert_symmetric(together)
    for group in np.ndindex(2, 3):
        case = Case(vectors[group], 0.5)
        alone = consolidated(backend, case)
        assert_close(together[group], alone, condition=case.condition)


@given(case=cases())
def test_normalizing_gives_trace_n_and_keeps_the_direction(
    backend: Backend, case: Case
) -> None:
    normalized = backend.call(normalize, 3.0 * case.inverse)
    assert_close(normalized, case.projection, condition=case.condition)
    assert_close(np.trace(normalized), np.asarray(float(case.features)))


def test_every_group_is_normalized_by_its_own_trace(backend: Backend) -> None:
    groups = np.stack([np.eye(3), 5.0 * np.eye(3)])
    np.testing.assert_array_equal(
        backend.call(normalize, groups), np.stack([np.eye(3), np.eye(3)])
    )


INDEFINITE = SecondMoment(np.diag([-5.0, 1.0]), np.asarray(1))


# Of rank one up to rounding, which the identity is too small to mend.
ROUNDED = SecondMoment(outer_sum(normal(0, 1, 40)), np.asarray(1))
LONG = SecondMoment(1e200 * outer_sum(normal(0, 9, 4)), np.asarray(9))


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize(
    ("moment", "damping", "message"),
    [
        (
            INDEFINITE,
            0.5,
            r"not positive definite.*is too small.* largest entry is 5; raise it",
        ),
        (ROUNDED, 1e-20, "not positive definite.*= 1e-20 is too small"),
        # H / damping overflows, and what SciPy makes of infinity are zeros.
        (LONG, 1e-200, "not positive definite.*= 1e-200 is too small"),
    ],
)
def test_what_float64_cannot_invert_is_refused_with_advice(
    backend: Backend, moment: SecondMoment, damping: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        backend.call(consolidate, moment, damping)


def test_groups_are_symmetric_each_by_its_own_scale(backend: Backend) -> None:
    small = np.asarray([[3.0, 2.0], [0.0, 3.0]])
    both = SecondMoment(np.stack([1e12 * np.eye(2), small]), np.asarray(1))
    with pytest.raises(ValueError, match="must be symmetric"):
        backend.call(consolidate, both, 1.0)


def test_rounding_of_a_large_group_is_none_of_a_small_one(backend: Backend) -> None:
    large = 1e12 * np.eye(2) + np.asarray([[0.0, 1e-3], [0.0, 0.0]])
    both = SecondMoment(np.stack([large, np.eye(2)]), np.asarray(1))
    found = backend.call(consolidate, both, 1.0, normalized=False)
    assert_close(found[1], np.eye(2) / 2)
