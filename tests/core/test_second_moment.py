import numpy as np
import pytest
from array_api_compat import device
from core.backends import Backend
from core.cases import SEEDS, Case, cases, normal, outer_sum
from core.tolerance import assert_close
from hypothesis import given

from rgo_core import SecondMoment, empty_moment, merge_moments, observe


def empty(*groups: int, features: int) -> SecondMoment:
    """Return an empty second moment in NumPy, to be converted."""
    return empty_moment(features, groups=groups)


def test_nothing_observed_is_zero_in_float64(backend: Backend) -> None:
    moment = empty_moment(3, groups=(2,), xp=backend.xp)
    assert moment.matrix.dtype == backend.xp.float64
    assert moment.count.dtype == backend.xp.int64
    np.testing.assert_array_equal(backend.to_numpy(moment.matrix), np.zeros((2, 3, 3)))
    assert backend.to_numpy(moment.count) == 0


def test_an_empty_moment_lives_where_it_is_told() -> None:
    strict = pytest.importorskip("array_api_strict")
    elsewhere = strict.Device("device1")
    moment = empty_moment(3, device=elsewhere, xp=strict)
    assert device(moment.matrix) == elsewhere
    assert device(moment.count) == elsewhere


def test_numpy_integers_count_features() -> None:
    assert empty_moment(np.int64(3)).matrix.shape == (3, 3)


@given(case=cases())
def test_observing_adds_the_outer_product_of_every_vector(
    backend: Backend, case: Case
) -> None:
    start = SecondMoment(np.eye(case.features), np.asarray(7))
    moment = backend.call(observe, start, case.vectors)
    assert_close(moment.matrix, np.eye(case.features) + outer_sum(case.vectors))
    assert moment.count == 7 + len(case.vectors)


@given(case=cases())
def test_a_donated_moment_gives_the_same_sum(backend: Backend, case: Case) -> None:
    kept = backend.call(observe, empty(features=case.features), case.vectors)
    start = empty_moment(case.features, xp=backend.xp)
    found = observe(start, backend.array(case.vectors), donate=True, xp=backend.xp)
    assert_close(backend.to_numpy(found.matrix), kept.matrix)
    assert backend.to_numpy(found.count) == len(case.vectors)


@pytest.mark.parametrize("groups", [(), (2,)])
def test_numpy_and_torch_add_in_the_memory_of_a_donated_moment(
    groups: tuple[int, ...],
) -> None:
    vectors = normal(0, *groups, 4, 3)
    for xp in (np, pytest.importorskip("array_api_compat.torch")):
        start = empty_moment(3, groups=groups, xp=xp)
        assert observe(start, xp.asarray(vectors), xp=xp).matrix is not start.matrix
        assert not start.matrix.any()
        found = observe(start, xp.asarray(vectors), donate=True, xp=xp)
        assert found.matrix is start.matrix
        expected = vectors.swapaxes(-1, -2) @ vectors
        assert_close(np.asarray(found.matrix), expected)


@given(case=cases(), seed=SEEDS)
def test_order_and_blocking_of_the_vectors_do_not_matter(
    backend: Backend, case: Case, seed: int
) -> None:
    shuffled = np.random.default_rng(seed).permutation(case.vectors)
    cut = len(shuffled) // 3
    moment = empty(features=case.features)
    for block in (shuffled[:cut], shuffled[cut:]):
        moment = backend.call(observe, moment, block)
    whole = backend.call(observe, empty(features=case.features), case.vectors)
    assert_close(moment.matrix, whole.matrix)
    assert moment.count == whole.count


@given(case=cases(), seed=SEEDS)
def test_merging_is_observing_both(backend: Backend, case: Case, seed: int) -> None:
    others = normal(seed, *case.vectors.shape)
    start = empty(features=case.features)
    one = backend.call(observe, start, case.vectors)
    other = backend.call(observe, start, others)
    merged = backend.call(merge_moments, one, other)
    both = backend.call(observe, one, others)
    assert_close(merged.matrix, both.matrix)
    assert merged.count == both.count
    reverse = backend.call(merge_moments, other, one)
    np.testing.assert_array_equal(merged.matrix, reverse.matrix)


def test_products_of_float32_vectors_are_formed_in_float64(backend: Backend) -> None:
    # The square needs 41 bits: exact in float64, rounded in float32.
    entry = 1 + 2.0**-20
    vectors = np.asarray([[entry, 1.0]], dtype=np.float32)
    moment = backend.call(observe, empty(features=2), vectors)
    np.testing.assert_array_equal(moment.matrix, [[entry**2, entry], [entry, 1.0]])


def test_sums_of_float32_vectors_are_kept_in_float64(backend: Backend) -> None:
    # In float32, 2^24 + 1 is 2^24.
    vectors = np.asarray([[2.0**12], [1.0], [1.0], [1.0]], dtype=np.float32)
    moment = backend.call(observe, empty(features=1), vectors)
    assert moment.matrix.item() == 2.0**24 + 3


def test_a_block_without_vectors_changes_nothing(backend: Backend) -> None:
    start = SecondMoment(normal(0, 3, 3), np.asarray(5))
    moment = backend.call(observe, start, np.zeros((0, 3)))
    np.testing.assert_array_equal(moment.matrix, start.matrix)
    assert moment.count == 5


@given(seed=SEEDS)
def test_groups_are_observed_as_in_a_loop(backend: Backend, seed: int) -> None:
    vectors = normal(seed, 2, 3, 5, 4)
    together = backend.call(observe, empty(2, 3, features=4), vectors)
    assert together.count == 5
    for group in np.ndindex(2, 3):
        alone = backend.call(observe, empty(features=4), vectors[group])
        assert_close(together.matrix[group], alone.matrix)
