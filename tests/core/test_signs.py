import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rgo_core import output_signs


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


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ({"outputs": 0}, "outputs must be an integer >= 1, got 0"),
        ({"outputs": 2, "seed": -1}, "seed must be an integer >= 0, got -1"),
    ],
)
def test_what_is_no_number_of_outputs_is_refused(key: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        output_signs(**key)
