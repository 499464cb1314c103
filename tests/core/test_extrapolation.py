from itertools import combinations
from typing import Any

import numpy as np
import pytest
from core.backends import Backend
from core.cases import SEEDS, Case, cases, normal, outer_sum
from core.tolerance import assert_close
from hypothesis import given

from rgo_core import (
    DiagonalMoment,
    as_matrix,
    consolidate,
    empty_diagonal,
    empty_moment,
    empty_sketch,
    enough_samples,
    extrapolate,
    merge_moments,
    observe,
)

EMPTY = {
    "full": lambda n: empty_moment(n),
    "diagonal": lambda n: empty_diagonal(n),
    "sketch": lambda n: empty_sketch(n, n),  # as many rows: nothing is cut off
}


@given(seed=SEEDS)
@pytest.mark.parametrize("form", ["full", "diagonal"])
@pytest.mark.parametrize("seen", [1, 2, 5])
def test_the_mean_over_all_parts_of_a_size_is_the_whole(
    form: str, seen: int, seed: int
) -> None:
    vectors = normal(seed, 5, 3) * [1.0, 10.0, 100.0]
    parts = [
        extrapolate(observe(EMPTY[form](3), vectors[list(part)]), seen / 5)[0]
        for part in combinations(range(5), seen)
    ]
    whole = observe(EMPTY[form](3), vectors)[0]
    assert_close(np.mean(parts, axis=0), whole)


@given(case=cases())
def test_of_samples_all_alike_a_part_has_the_projection_of_the_whole(
    case: Case,
) -> None:
    whole = observe(empty_moment(case.features), np.repeat(case.vectors, 4, axis=0))
    part = observe(empty_moment(case.features), case.vectors)
    assert_close(extrapolate(part, 0.25).matrix, whole.matrix)
    assert int(extrapolate(part, 0.25).count) == len(case.vectors)


@pytest.mark.parametrize("form", EMPTY)
def test_a_share_known_beforehand_weighs_each_vector(
    backend: Backend, form: str
) -> None:
    empty = EMPTY[form](6)
    before = observe(empty, normal(1, 4, 6))
    # To extrapolate is of the part alone, and leaves the tasks before as they are.
    part = extrapolate(observe(empty, normal(2, 4, 6)), 0.2)
    expected = merge_moments(before, part)
    found: Any = backend.call(observe, before, normal(2, 4, 6), share=0.2)
    projections = [as_matrix(consolidate(m, 0.5)) for m in (found, expected)]
    np.testing.assert_allclose(*projections, atol=1e-12)
    assert int(backend.to_numpy(found.count)) == 8


def test_groups_are_extrapolated_alike(backend: Backend) -> None:
    vectors = normal(3, 2, 4, 3)
    moment = observe(empty_moment(3, groups=(2,)), vectors)
    found = backend.call(extrapolate, moment, 0.5)
    for group in range(2):
        assert_close(found.matrix[group], 2 * outer_sum(vectors[group]))


def test_what_is_extrapolated_is_left_as_it_is() -> None:
    moment = DiagonalMoment(np.ones(2), np.asarray(3))
    extrapolate(moment, 0.5)
    np.testing.assert_array_equal(moment.diagonal, np.ones(2))


def test_enough_samples_are_two_for_each_input() -> None:
    assert enough_samples(784) == 1568
    assert enough_samples(np.int64(1)) == 2
    with pytest.raises(ValueError, match="features must be an integer >= 1, got 0"):
        enough_samples(0)
