from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rgo_core import output_contrast, output_signs


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ({"outputs": 6, "seed": 0}, [1, 1, 1, -1, -1, -1]),
        ({"outputs": 6, "seed": 1}, [1, -1, 1, 1, 1, -1]),
        ({"outputs": 6, "name": "hidden"}, [1, 1, -1, 1, -1, 1]),
    ],
)
def test_signs_are_the_same_for_ever(key: dict, expected: list[int]) -> None:
    np.testing.assert_array_equal(output_signs(**key), expected)


@given(outputs=st.integers(1, 300), name=st.text(), seed=st.integers(0, 2**40))
def test_signs_are_one_or_minus_one(outputs: int, name: str, seed: int) -> None:
    signs = output_signs(outputs, name=name, seed=seed)
    assert signs.shape == (outputs,)
    assert signs.dtype == np.int8
    assert set(np.abs(signs).tolist()) == {1}
    np.testing.assert_array_equal(signs, output_signs(outputs, name=name, seed=seed))


def test_signs_are_drawn_evenly() -> None:
    assert abs(int(output_signs(10_000).sum(dtype=np.int64))) < 4 * 100


@given(outputs=st.integers(1, 300), name=st.text(), seed=st.integers(0, 2**40))
def test_a_contrast_has_weights_that_differ_and_sum_to_zero(
    outputs: int, name: str, seed: int
) -> None:
    weights = output_contrast(outputs, name=name, seed=seed)
    assert len(np.unique(weights)) == outputs
    assert abs(weights.sum()) < 1e-9
    assert np.square(weights).sum() == pytest.approx(outputs - 1)
    np.testing.assert_array_equal(
        weights, output_contrast(outputs, name=name, seed=seed)
    )


def test_a_contrast_is_the_same_for_ever() -> None:
    steps = np.sqrt(20 / 3) * output_contrast(4)
    np.testing.assert_allclose(steps, [3, -1, 1, -3])


def test_over_its_draws_a_contrast_sees_all_that_sums_to_zero() -> None:
    """``E (1/m sum s_j d_j)^2 = 1/m^2 sum d_j^2`` for d of sum zero."""
    columns = np.random.default_rng(0).normal(size=5)
    columns -= columns.mean()
    means = [columns @ output_contrast(5, seed=seed) / 5 for seed in range(4000)]
    assert np.mean(np.square(means)) == pytest.approx(columns @ columns / 25, rel=0.05)


draws = pytest.mark.parametrize("draw", [output_signs, output_contrast])


@draws
@pytest.mark.parametrize(
    ("key", "message"),
    [
        ({"outputs": 0}, "outputs must be an integer >= 1, got 0"),
        ({"outputs": 2, "seed": -1}, "seed must be an integer >= 0, got -1"),
    ],
)
def test_what_is_no_number_of_outputs_is_refused(
    draw: Callable, key: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        draw(**key)
