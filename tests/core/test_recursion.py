import numpy as np
import pytest
from core.backends import Backend
from core.cases import SEEDS, Case, cases, normal
from core.tolerance import (
    EIGENVALUE,
    ERROR,
    assert_close,
    assert_symmetric,
    unit,
)
from hypothesis import given

from rgo_core import gain, update_projection

# An update takes from the projection before what it closes: its errors are relative
# to that projection, and multiply as the recursion's condition, `Case.growth`.
BLOCKS = pytest.mark.parametrize("block", [1, None], ids=["vector", "block"])


def split(case: Case, block: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the raw projection before the last vector or block, and that."""
    if block is None:
        cut = len(case.vectors) // 2
        return Case(case.vectors[:cut], case.damping).inverse, case.vectors[cut:]
    return Case(case.vectors[:-1], case.damping).inverse, case.vectors[-1]


@given(seed=SEEDS)
def test_the_gain_is_the_projection_times_the_vector(
    backend: Backend, seed: int
) -> None:
    P, vector = normal(seed, 4, 4), normal(seed + 1, 4)
    expected = np.asarray(
        [sum(P[i, j] * vector[j] for j in range(4)) for i in range(4)]
    )
    scale = float(np.linalg.norm(P) * np.linalg.norm(vector))
    assert_close(backend.call(gain, P, vector), expected, scale=scale)


@BLOCKS
@given(case=cases())
def test_an_update_is_the_explicit_inverse(
    backend: Backend, block: int | None, case: Case
) -> None:
    before, vectors = split(case, block)
    updated = backend.call(update_projection, before, vectors, case.damping)
    scale = float(np.linalg.norm(before))
    assert_close(updated, case.inverse, condition=case.growth, scale=scale)


@BLOCKS
@given(case=cases())
def test_an_update_of_symmetric_is_symmetric_to_the_last_bit(
    backend: Backend, block: int | None, case: Case
) -> None:
    before, vectors = split(case, block)
    before = (before + before.T) / 2
    assert_symmetric(backend.call(update_projection, before, vectors, case.damping))


@BLOCKS
@given(case=cases())
def test_twice_the_vectors_with_four_times_the_damping_change_no_bit(
    backend: Backend, block: int | None, case: Case
) -> None:
    before, vectors = split(case, block)
    plain = backend.call(update_projection, before, vectors, case.damping)
    scaled = backend.call(update_projection, before, 2 * vectors, 4 * case.damping)
    np.testing.assert_array_equal(scaled, plain)


@given(case=cases())
def test_a_block_is_its_vectors_one_by_one(backend: Backend, case: Case) -> None:
    one_by_one = backend.array(np.eye(case.features))
    for vector in case.vectors:
        one_by_one = update_projection(one_by_one, backend.array(vector), case.damping)
    block = backend.call(
        update_projection, np.eye(case.features), case.vectors, case.damping
    )
    scale = case.features**0.5
    assert_close(
        backend.to_numpy(one_by_one), block, condition=case.growth, scale=scale
    )


@BLOCKS
@given(case=cases())
def test_an_update_takes_freedom_from_every_direction_and_keeps_some(
    backend: Backend, block: int | None, case: Case
) -> None:
    before, vectors = split(case, block)
    after = backend.call(update_projection, before, vectors, case.damping)
    slack = EIGENVALUE * unit(case.growth)
    assert np.linalg.eigvalsh(after)[-1] <= 1 + slack
    assert np.linalg.eigvalsh(before - after)[0] >= -slack
    for vector in np.atleast_2d(vectors):
        left = vector @ after @ vector
        assert left <= case.damping * (1 + ERROR * unit(case.growth))


@pytest.mark.parametrize("vectors", [np.zeros(3), np.zeros((2, 3)), np.zeros((0, 3))])
def test_vectors_of_zeros_and_empty_blocks_change_nothing(
    backend: Backend, vectors: np.ndarray
) -> None:
    before = Case(normal(0, 2, 3), 0.5).inverse
    before = (before + before.T) / 2
    after = backend.call(update_projection, before, vectors, 1.0)
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 5, 4)], ids=["vectors", "blocks"])
@given(seed=SEEDS)
def test_groups_are_updated_as_in_a_loop(
    backend: Backend, shape: tuple[int, ...], seed: int
) -> None:
    vectors = normal(seed, *shape)
    before = np.broadcast_to(np.eye(4), (2, 3, 4, 4))
    together = backend.call(update_projection, before, vectors, 0.5)
    for group in np.ndindex(2, 3):
        alone = backend.call(update_projection, before[group], vectors[group], 0.5)
        case = Case(np.atleast_2d(vectors[group]), 0.5)
        assert_close(together[group], alone, condition=case.growth, scale=2.0)


def test_groups_have_their_own_gains(backend: Backend) -> None:
    P, vectors = normal(0, 2, 3, 4, 4), normal(1, 2, 3, 4)
    together = backend.call(gain, P, vectors)
    for group in np.ndindex(2, 3):
        assert_close(together[group], backend.call(gain, P[group], vectors[group]))


@pytest.mark.parametrize("shape", [(3,), (2, 3)], ids=["vector", "block"])
def test_vectors_of_another_precision_take_that_of_the_projection(
    backend: Backend, shape: tuple[int, ...]
) -> None:
    vectors = normal(0, *shape)
    single = backend.call(update_projection, np.eye(3, dtype=np.float32), vectors, 1.0)
    assert single.dtype == np.float32
    double = backend.call(update_projection, np.eye(3), vectors.astype(np.float32), 1.0)
    assert double.dtype == np.float64


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize("block", [False, True])
def test_vectors_whose_squares_overflow_are_refused(
    backend: Backend, block: bool
) -> None:
    vector = np.asarray([1e160, 0.0])
    with pytest.raises(ValueError, match=r"P V\^T|P g must be finite"):
        backend.call(
            update_projection, np.eye(2), vector[None] if block else vector, 1.0
        )


def test_a_block_too_long_for_its_damping_is_refused_with_advice() -> None:
    vectors = 1e9 * np.ones((2, 3), dtype=np.float32)
    with pytest.raises(ValueError, match=r"is too small for these vectors; raise it"):
        update_projection(np.eye(3, dtype=np.float32), vectors, 1e-3)


@pytest.mark.parametrize(
    ("before", "vector", "damping"),
    [
        (np.eye(2, dtype=np.float32), np.zeros(2), 1e-50),  # zero in float32
        (-np.eye(2), np.asarray([1.0, 0.0]), 1.0),
        (-np.eye(2), np.asarray([2.0, 0.0]), 1.0),
    ],
)
def test_what_an_update_cannot_be_divided_by_is_refused(
    backend: Backend, before: np.ndarray, vector: np.ndarray, damping: float
) -> None:
    message = r"g\^T P g must be > 0 in .*, got .*; start anew in float64"
    with pytest.raises(ValueError, match=message):
        backend.call(update_projection, before, vector, damping)
    if before.dtype == np.float64:
        with pytest.raises(ValueError, match="is not positive definite in"):
            backend.call(update_projection, before, vector[None], damping)
