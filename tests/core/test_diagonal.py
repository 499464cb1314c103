import numpy as np
import pytest
from array_api_compat import device
from core.backends import Backend
from core.cases import SEEDS, Case, cases, normal, outer_sum
from core.tolerance import assert_close
from hypothesis import assume, given

from rgo_core import (
    DiagonalMoment,
    DiagonalProjection,
    Relative,
    SecondMoment,
    as_matrix,
    consolidate,
    empty_diagonal,
    free_directions,
    merge_moments,
    observe,
    plasticity,
    project,
    project_factors,
)
from rgo_core.damping import Damping

AXES = pytest.mark.parametrize("axis", [-2, -1])


def moment_of(backend: Backend, vectors: np.ndarray) -> DiagonalMoment:
    start = empty_diagonal(vectors.shape[-1], groups=vectors.shape[:-2])
    return backend.call(observe, start, vectors)


def test_nothing_observed_is_zero_in_float64(backend: Backend) -> None:
    moment = empty_diagonal(3, groups=(2,), xp=backend.xp)
    assert moment.diagonal.dtype == backend.xp.float64
    assert moment.count.dtype == backend.xp.int64
    np.testing.assert_array_equal(backend.to_numpy(moment.diagonal), np.zeros((2, 3)))


def test_an_empty_moment_lives_where_it_is_told() -> None:
    strict = pytest.importorskip("array_api_strict")
    elsewhere = strict.Device("device1")
    moment = empty_diagonal(3, device=elsewhere, xp=strict)
    assert {device(moment.diagonal), device(moment.count)} == {elsewhere}


@given(case=cases(), seed=SEEDS)
def test_the_diagonal_is_that_of_the_whole_sum(
    backend: Backend, case: Case, seed: int
) -> None:
    one = moment_of(backend, case.vectors)
    assert_close(one.diagonal, np.diag(outer_sum(case.vectors)))
    others = normal(seed, *case.vectors.shape)
    both = backend.call(observe, one, others)
    merged = backend.call(merge_moments, one, moment_of(backend, others))
    assert_close(merged.diagonal, both.diagonal)
    assert merged.count == both.count == 2 * len(case.vectors)


@given(case=cases())
def test_a_donated_moment_gives_the_same_sum(backend: Backend, case: Case) -> None:
    start = empty_diagonal(case.features, xp=backend.xp)
    found = observe(start, backend.array(case.vectors), donate=True, xp=backend.xp)
    kept = moment_of(backend, case.vectors)
    np.testing.assert_array_equal(backend.to_numpy(found.diagonal), kept.diagonal)


def test_numpy_and_torch_add_in_the_memory_of_a_donated_moment() -> None:
    for xp in (np, pytest.importorskip("array_api_compat.torch")):
        start = empty_diagonal(3, xp=xp)
        vectors = xp.asarray(normal(0, 4, 3))
        assert observe(start, vectors, xp=xp).diagonal is not start.diagonal
        found = observe(start, vectors, donate=True, xp=xp)
        assert found.diagonal is start.diagonal


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("normalized", [False, True])
@given(case=cases())
def test_its_projection_is_that_of_a_matrix_with_this_diagonal(
    backend: Backend, relative: bool, normalized: bool, case: Case
) -> None:
    moment = moment_of(backend, case.vectors)
    assume(np.any(moment.diagonal > 0))
    damping = Relative(case.damping) if relative else case.damping
    found = backend.call(consolidate, moment, damping, normalized=normalized)
    scale = float(np.mean(moment.diagonal)) if relative else 1.0
    oracle = 1 / (1 + moment.diagonal / (scale * case.damping))
    if normalized:
        oracle *= case.features / np.sum(oracle)
    assert isinstance(found, DiagonalProjection)
    assert np.all(found.diagonal > 0)
    assert_close(found.diagonal, oracle)
    dense = SecondMoment(np.diag(moment.diagonal), moment.count)
    if np.max(moment.diagonal) < 1e10 * case.damping * scale:
        matrix = backend.call(consolidate, dense, damping, normalized=normalized)
        assert_close(np.diag(found.diagonal), matrix, condition=1e10)


@pytest.mark.parametrize("looked_up", [False, True])
@given(case=cases())
def test_rows_that_nobody_looked_up_do_not_count_in_a_relative_damping(
    backend: Backend, looked_up: bool, case: Case
) -> None:
    moment = moment_of(backend, case.vectors)
    assume(np.any(moment.diagonal > 0))
    damping = Relative(case.damping)
    options = {"normalized": False, "looked_up": looked_up}
    h = moment.diagonal
    found = backend.call(consolidate, moment, damping, **options).diagonal
    mean = np.sum(h * (h / np.sum(h))) if looked_up else np.mean(h)
    assert_close(found, 1 / (1 + h / (mean * case.damping)))
    longer = moment._replace(diagonal=np.concatenate([h, np.zeros_like(h)]))
    same = backend.call(consolidate, longer, damping, **options).diagonal[: len(h)]
    if looked_up:
        assert_close(same, found)
    else:
        assert np.any(same < found)


@pytest.mark.parametrize("damping", [0.1, Relative(0.1)])
def test_nothing_observed_leaves_exactly_the_identity(
    backend: Backend, damping: Damping
) -> None:
    moment = empty_diagonal(4, groups=(2,))
    found = backend.call(consolidate, moment, damping)
    np.testing.assert_array_equal(found.diagonal, np.ones((2, 4)))


def test_it_may_be_cast(backend: Backend) -> None:
    moment = moment_of(backend, normal(0, 5, 3))
    double = backend.call(consolidate, moment, 0.1)
    single = backend.call(consolidate, moment, 0.1, dtype=backend.dtype("float32"))
    np.testing.assert_array_equal(single.diagonal, double.diagonal.astype(np.float32))


@AXES
@pytest.mark.parametrize("groups", [(), (3,), (2, 3)])
def test_projecting_is_multiplying_by_the_matrix(
    backend: Backend, axis: int, groups: tuple[int, ...]
) -> None:
    P = DiagonalProjection(np.abs(normal(0, *groups, 4)))
    matrix = backend.call(as_matrix, P)
    gradient = normal(1, 2, 3, 4, 4)
    expected = matrix @ gradient if axis == -2 else gradient @ matrix
    np.testing.assert_array_equal(
        backend.call(project, P, gradient, axis=axis), expected
    )
    for rows in (2, 6):
        inputs, outputs = normal(0, 2, 3, rows, 4), normal(1, 2, 3, rows, 5)
        factors = backend.call(project_factors, P, inputs, outputs, axis=axis)
        whole = matrix @ (inputs.swapaxes(-1, -2) @ outputs)
        whole = whole if axis == -2 else whole.swapaxes(-1, -2)
        assert_close(factors, whole, scale=float(np.linalg.norm(whole)) + 10.0)


def test_a_vector_is_projected_entry_by_entry(backend: Backend) -> None:
    P = DiagonalProjection(np.asarray([0.5, 1.5]))
    found = backend.call(project, P, np.asarray([2.0, 4.0]), axis=-1)
    np.testing.assert_array_equal(found, [1.0, 6.0])


@given(seed=SEEDS)
def test_what_is_left_free_is_that_of_the_matrix(backend: Backend, seed: int) -> None:
    P = DiagonalProjection(np.abs(normal(seed, 2, 5)))
    matrix = backend.call(as_matrix, P)
    for measure in (plasticity, free_directions):
        assert_close(backend.call(measure, P), backend.call(measure, matrix))


@given(seed=SEEDS)
def test_groups_are_as_in_a_loop(backend: Backend, seed: int) -> None:
    vectors = normal(seed, 2, 3, 5, 4)
    together = backend.call(consolidate, moment_of(backend, vectors), 0.5)
    for group in np.ndindex(2, 3):
        moment = moment_of(backend, vectors[group])
        alone = backend.call(consolidate, moment, 0.5)
        assert_close(together.diagonal[group], alone.diagonal)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_damping_whose_inverse_is_infinite_is_refused(backend: Backend) -> None:
    moment = DiagonalMoment(np.asarray([1e308]), np.asarray(1))
    with pytest.raises(ValueError, match=r"for damping = 1e\+308, must be finite"):
        backend.call(consolidate, moment, 1e308)
