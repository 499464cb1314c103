"""A relative damping up to an absolute one, in every form of a second moment."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from core.backends import Backend
from core.tolerance import assert_close

from rgo_core import (
    Relative,
    SecondMoment,
    as_matrix,
    consolidate,
    empty_diagonal,
    empty_moment,
    empty_sketch,
    observe,
)

EMPTY = {
    "matrix": empty_moment,
    "diagonal": empty_diagonal,
    "sketch": lambda n, **options: empty_sketch(n, 3, **options),
}


@pytest.mark.parametrize("form", EMPTY)
def test_each_group_has_the_smaller_of_the_two(backend: Backend, form: str) -> None:
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(2, 3, 4)) * np.array([0.1, 10.0])[:, None, None]
    moment = backend.call(observe, EMPTY[form](4, groups=(2,)), rows)
    means = np.sum(rows * rows, axis=(1, 2)) / 4
    share, most = 0.5, 1.0
    assert share * means[0] < most < share * means[1]

    def found(damping: Any) -> Any:
        result = backend.call(consolidate, moment, damping)
        return result if form == "matrix" else backend.call(as_matrix, result)

    limited = found(Relative(share, most))
    assert_close(limited[0], found(Relative(share))[0])
    assert_close(limited[1], found(most)[1])


@pytest.mark.parametrize("most", [0.0, -1.0, float("nan"), float("inf"), "1"])
def test_a_limit_is_a_finite_number_above_zero(most: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="most must be"):
        Relative(0.1, most)


def test_a_share_may_be_any_real_number() -> None:
    moment = SecondMoment(np.diag([1.0, 3.0]), np.asarray(2))
    half = consolidate(moment, Relative(Fraction(1, 2)))  # type: ignore[arg-type]
    np.testing.assert_array_equal(half, consolidate(moment, Relative(0.5)))


@pytest.mark.parametrize("most", [Fraction(1, 2), np.float32(0.5), np.float64(0.5)])
def test_a_limit_may_be_any_real_number(backend: Backend, most: Any) -> None:
    moment = SecondMoment(np.diag([1.0, 3.0]), np.asarray(2))
    found = backend.call(consolidate, moment, Relative(1.0, most))
    expected = backend.call(consolidate, moment, Relative(1.0, 0.5))
    np.testing.assert_array_equal(found, expected)
