import numpy as np
import pytest
import torch
from array_api_compat import device
from array_api_compat import torch as torch_xp
from core.backends import Backend
from core.cases import SEEDS, normal, outer_sum
from core.tolerance import ERROR, assert_close, unit
from hypothesis import given
from hypothesis import strategies as st

from rgo_core import (
    LowRankProjection,
    Relative,
    SecondMoment,
    SketchedMoment,
    as_matrix,
    consolidate,
    empty_sketch,
    free_directions,
    merge_moments,
    observe,
    plasticity,
    project,
    project_factors,
)
from rgo_core.damping import Damping

AXES = pytest.mark.parametrize("axis", [-2, -1])
# (rows l, features n, vectors r), which take the Gram matrix of either side.
SIZES = st.sampled_from([(1, 1, 3), (1, 4, 6), (2, 5, 9), (4, 40, 12), (5, 5, 9)])
# Blocks of one Gram matrix of 64 vectors and more.
MANY = pytest.mark.parametrize("size", [(3, 7, 150), (8, 90, 150)])


def sketch_of(backend: Backend, vectors: np.ndarray, rows: int) -> SketchedMoment:
    start = empty_sketch(vectors.shape[-1], rows, groups=vectors.shape[:-2])
    return backend.call(observe, start, vectors)


def spectrum(seed: int, vectors: int, features: int, decay: float) -> np.ndarray:
    """Draw vectors whose directions fade."""
    scales = decay ** np.arange(features)
    turned = np.linalg.qr(normal(seed, features, features))[0]
    return (normal(seed + 1, vectors, features) * scales) @ turned


def assert_within_bounds(sketch: SketchedMoment, H: np.ndarray) -> None:
    """Hold what Frequent Directions guarantee, to rounding."""
    rounding = 100 * unit() * float(np.trace(H))
    count, _ = sketch.rows.shape
    missed = np.linalg.eigvalsh(H - sketch.rows.T @ sketch.rows)
    assert missed[0] >= -rounding
    assert missed[-1] <= sketch.shrunk + rounding
    centred = missed - sketch.shrunk / 2
    assert np.max(np.abs(centred)) <= sketch.shrunk / 2 + rounding
    eigenvalues = np.linalg.eigvalsh(H)[::-1]
    for k in range(count + 1):
        tail = float(np.sum(eigenvalues[k:]))
        assert sketch.shrunk <= tail / (count + 1 - k) + rounding
    assert_close(sketch.trace, np.trace(H))


# --- the sketch


def test_nothing_observed_is_zero_in_float64(backend: Backend) -> None:
    sketch = empty_sketch(5, 2, groups=(3,), xp=backend.xp)
    assert all(array.dtype == backend.xp.float64 for array in sketch[:3])
    assert sketch.count.dtype == backend.xp.int64
    assert sketch.rows.shape == (3, 2, 5)
    assert sketch.shrunk.shape == sketch.trace.shape == (3,)
    assert not any(backend.to_numpy(array).any() for array in sketch)


def test_an_empty_sketch_lives_where_it_is_told() -> None:
    strict = pytest.importorskip("array_api_strict")
    elsewhere = strict.Device("device1")
    sketch = empty_sketch(5, 2, device=elsewhere, xp=strict)
    assert {device(array) for array in sketch} == {elsewhere}


@given(size=SIZES, decay=st.sampled_from([0.1, 0.7, 1.0]), seed=SEEDS)
def test_what_a_sketch_misses_is_bounded_by_what_it_shrank(
    backend: Backend, size: tuple[int, int, int], decay: float, seed: int
) -> None:
    count, n, r = size
    vectors = spectrum(seed, r, n, decay)
    cut = r // 3
    sketch = sketch_of(backend, vectors[:cut], count)
    sketch = backend.call(observe, sketch, vectors[cut:])
    assert sketch.rows.shape == (count, n)
    assert sketch.count == r
    assert_within_bounds(sketch, outer_sum(vectors))


def test_what_is_dropped_over_many_blocks_is_counted(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    # More than rounding of the long one, and less than as much for each feature.
    long = 3e5 * rng.normal(size=(60, 1))
    short = 5e-3 * rng.normal(size=(60, 40, 100))
    vectors = np.concatenate([long[..., None] * np.eye(100)[:1], short], axis=1)
    sketch = sketch_of(backend, vectors[0], 4)
    for block in vectors[1:]:
        sketch = backend.call(observe, sketch, block)
    off = outer_sum(vectors.reshape(-1, 100)) - sketch.rows.T @ sketch.rows
    assert np.linalg.eigvalsh(off[1:, 1:])[-1] <= sketch.shrunk


@MANY
def test_many_vectors_at_once_keep_the_bounds(
    backend: Backend, size: tuple[int, int, int]
) -> None:
    count, n, r = size
    vectors = spectrum(0, r, n, 0.8)
    assert_within_bounds(sketch_of(backend, vectors, count), outer_sum(vectors))


@given(size=SIZES, seed=SEEDS)
def test_merged_sketches_keep_the_bounds_in_either_order(
    backend: Backend, size: tuple[int, int, int], seed: int
) -> None:
    count, n, r = size
    both = spectrum(seed, r, n, 0.7), normal(seed + 2, 2 * r, n)
    one, other = (sketch_of(backend, vectors, count) for vectors in both)
    H = outer_sum(np.concatenate(both))
    for pair in ((one, other), (other, one)):
        merged = backend.call(merge_moments, *pair)
        assert_within_bounds(merged, H)
        assert merged.count == 3 * r


@pytest.mark.parametrize("features", [6, 40])
@given(rank=st.integers(0, 3), seed=SEEDS)
def test_while_the_rank_is_no_more_than_its_rows_a_sketch_is_exact(
    backend: Backend, features: int, rank: int, seed: int
) -> None:
    vectors = normal(seed, 12, rank) @ normal(seed + 1, rank, features)
    sketch = sketch_of(backend, vectors[:5], 3)
    sketch = backend.call(observe, sketch, vectors[5:])
    sketch = backend.call(merge_moments, sketch, sketch_of(backend, vectors, 3))
    assert sketch.shrunk == 0
    H = 2 * outer_sum(vectors)
    assert_close(sketch.rows.T @ sketch.rows, H, condition=5)
    projection = backend.call(consolidate, sketch, 0.5)
    dense = backend.call(consolidate, SecondMoment(H, sketch.count), 0.5)
    condition = 1 + float(np.linalg.norm(H, 2)) / 0.5
    assert_close(backend.call(as_matrix, projection), dense, condition=condition)


def test_as_many_rows_as_features_are_always_exact(backend: Backend) -> None:
    vectors = normal(0, 90, 4)
    sketch = sketch_of(backend, vectors, 4)
    assert sketch.shrunk == 0
    assert_close(sketch.rows.T @ sketch.rows, outer_sum(vectors))


def test_a_block_without_vectors_changes_nothing(backend: Backend) -> None:
    sketch = sketch_of(backend, normal(0, 9, 5), 2)
    again = backend.call(observe, sketch, np.zeros((0, 5)))
    for one, other in zip(sketch, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_trace_of_float32_vectors_is_kept_in_float64(backend: Backend) -> None:
    # In float32, 2^24 + 1 is 2^24.
    vectors = np.asarray([[2.0**12], [1.0], [1.0], [1.0]], dtype=np.float32)
    sketch = sketch_of(backend, vectors, 1)
    assert sketch.trace == 2.0**24 + 3


# --- its projection


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("normalized", [False, True])
@given(size=SIZES, log_damping=st.integers(-4, 4), seed=SEEDS)
def test_its_projection_is_the_explicit_inverse_of_what_it_stands_for(
    backend: Backend,
    relative: bool,
    normalized: bool,
    size: tuple[int, int, int],
    log_damping: int,
    seed: int,
) -> None:
    count, n, r = size
    sketch = sketch_of(backend, spectrum(seed, r, n, 0.8), count)
    damping = 10.0**log_damping
    given = Relative(damping) if relative else damping
    found = backend.call(consolidate, sketch, given, normalized=normalized)
    assert isinstance(found, LowRankProjection)
    alpha = damping * float(sketch.trace) / n if relative else damping
    stood_for = sketch.rows.T @ sketch.rows + sketch.shrunk / 2 * np.eye(n)
    information = np.eye(n) + stood_for / alpha
    Q = np.linalg.inv(information)
    P = Q * n / np.trace(Q) if normalized else Q
    matrix = backend.call(as_matrix, found)
    # The subtrahend is off by eps: of what is left, that is as much again.
    condition = float(np.linalg.norm(information, 2)) / (1 + sketch.shrunk / 2 / alpha)
    assert_close(matrix, P, condition=condition)
    np.testing.assert_array_equal(matrix, matrix.T)
    eigenvalues = np.linalg.eigvalsh(matrix)
    assert eigenvalues[0] > 0
    if normalized:
        assert abs(np.trace(matrix) - n) <= ERROR * unit(condition) * n
    else:
        assert eigenvalues[-1] <= 1 + ERROR * unit(condition)


@pytest.mark.parametrize("damping", [0.1, Relative(0.1)])
def test_nothing_observed_leaves_exactly_the_identity(
    backend: Backend, damping: Damping
) -> None:
    found = backend.call(consolidate, empty_sketch(5, 2, groups=(3,)), damping)
    matrix = backend.call(as_matrix, found)
    np.testing.assert_array_equal(matrix, np.broadcast_to(np.eye(5), (3, 5, 5)))


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("rank", [3, 4])
def test_where_all_is_closed_what_is_left_keeps_the_precision_of_its_dtype(
    backend: Backend, rank: int, normalized: bool
) -> None:
    vectors = 1e3 * normal(0, 50, rank) @ normal(1, rank, 4)
    options = {"normalized": normalized, "dtype": backend.dtype("float32")}
    found = backend.call(consolidate, sketch_of(backend, vectors, 4), 1.0, **options)
    dense = SecondMoment(outer_sum(vectors), np.asarray(50))
    expected = backend.call(consolidate, dense, 1.0, **options)
    assert_close(backend.call(as_matrix, found), expected, dtype=np.float32)


def test_it_may_be_cast(backend: Backend) -> None:
    sketch = sketch_of(backend, normal(0, 9, 5), 2)
    single = backend.call(consolidate, sketch, 0.1, dtype=backend.dtype("float32"))
    assert single.factor.dtype == single.scale.dtype == np.float32


def test_a_damping_that_float64_cannot_tell_from_zero_is_refused(
    backend: Backend,
) -> None:
    sketch = sketch_of(backend, np.eye(3)[:1], 1)
    message = (
        "not positive definite.*= 1e-20 is too small.* largest eigenvalue is 1; raise"
    )
    with pytest.raises(ValueError, match=message):
        backend.call(consolidate, sketch, 1e-20)


@AXES
@pytest.mark.parametrize("groups", [(), (3,), (2, 3)])
def test_projecting_is_multiplying_by_the_matrix(
    backend: Backend, axis: int, groups: tuple[int, ...]
) -> None:
    sketch = sketch_of(backend, normal(0, *groups, 9, 4), 2)
    P = backend.call(consolidate, sketch, 0.5)
    matrix = backend.call(as_matrix, P)
    gradient = normal(1, 2, 3, 4, 4)
    expected = matrix @ gradient if axis == -2 else gradient @ matrix
    found = backend.call(project, P, gradient, axis=axis)
    assert_close(found, expected, condition=10)
    for rows in (2, 6):
        inputs, outputs = normal(0, 2, 3, rows, 4), normal(1, 2, 3, rows, 5)
        factors = backend.call(project_factors, P, inputs, outputs, axis=axis)
        whole = matrix @ (inputs.swapaxes(-1, -2) @ outputs)
        whole = whole if axis == -2 else whole.swapaxes(-1, -2)
        assert_close(factors, whole, condition=10)


def test_a_vector_is_projected_as_a_row(backend: Backend) -> None:
    P = backend.call(consolidate, sketch_of(backend, normal(0, 9, 4), 2), 0.5)
    vector = normal(1, 4)
    found = backend.call(project, P, vector, axis=-1)
    assert_close(found, backend.call(as_matrix, P) @ vector)


@given(seed=SEEDS)
def test_what_is_left_free_is_that_of_the_matrix(backend: Backend, seed: int) -> None:
    sketch = sketch_of(backend, normal(seed, 3, 9, 4), 2)
    P = backend.call(consolidate, sketch, 0.5)
    matrix = backend.call(as_matrix, P)
    for measure in (plasticity, free_directions):
        found = backend.call(measure, P)
        assert_close(found, backend.call(measure, matrix), condition=10)


@given(seed=SEEDS)
def test_groups_are_as_in_a_loop(backend: Backend, seed: int) -> None:
    vectors = normal(seed, 2, 3, 9, 5)
    sketch = sketch_of(backend, vectors, 2)
    merged = backend.call(merge_moments, sketch, sketch)
    together = backend.call(as_matrix, backend.call(consolidate, merged, 0.5))
    for group in np.ndindex(2, 3):
        alone = sketch_of(backend, vectors[group], 2)
        alone = backend.call(merge_moments, alone, alone)
        assert_close(merged.shrunk[group], alone.shrunk, condition=10)
        projection = backend.call(consolidate, alone, 0.5)
        expected = backend.call(as_matrix, projection)
        assert_close(together[group], expected, condition=100)


def test_a_gram_matrix_whose_eigenvalues_lapack_does_not_find_is_taken_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As that of PyTorch may not, where rows are many powers of ten apart."""
    vectors = torch.from_numpy(spectrum(3, 30, 12, 0.3) * np.logspace(0, -50, 12))
    expected = observe(empty_sketch(12, 4, xp=torch_xp), vectors)

    def fails(*_: object) -> None:
        raise torch.linalg.LinAlgError("failed to converge")

    monkeypatch.setattr(torch_xp.linalg, "eigh", fails)
    found = observe(empty_sketch(12, 4, xp=torch_xp), vectors)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.abs(), other.abs())
    consolidated = consolidate(found, 0.1)
    assert all(torch.isfinite(part).all() for part in consolidated)
