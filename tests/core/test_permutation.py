import numpy as np
import pytest
from core.backends import Backend
from core.cases import SEEDS, normal
from hypothesis import given
from hypothesis import strategies as st

from rgo_core import inverse_permutation, permute, task_permutation

WIDTHS = st.integers(1, 300)
TASKS = st.integers(0, 1000)
NAMES = st.text()


# --- task_permutation


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (
            {"width": 8, "task": 1, "name": "hidden", "seed": 0},
            [2, 1, 3, 7, 0, 5, 4, 6],
        ),
        (
            {"width": 8, "task": 2, "name": "hidden", "seed": 0},
            [2, 1, 6, 4, 3, 7, 0, 5],
        ),
        (
            {"width": 8, "task": 1, "name": "hidden", "seed": 1},
            [5, 7, 2, 3, 0, 4, 1, 6],
        ),
        (
            {"width": 8, "task": 1, "name": "stages.0.conv1", "seed": 0},
            [5, 2, 4, 1, 0, 7, 6, 3],
        ),
        (
            {"width": 9, "task": 1, "name": "hidden", "seed": 0},
            [5, 8, 4, 2, 3, 0, 7, 1, 6],
        ),
        (
            {"width": 8, "task": 19, "name": "højre", "seed": 18446744073709551616},
            [2, 7, 5, 4, 0, 6, 1, 3],
        ),
    ],
)
def test_permutations_are_the_same_on_every_machine_and_in_every_release(
    key: dict[str, int | str], expected: list[int]
) -> None:
    assert task_permutation(**key).tolist() == expected


@given(width=WIDTHS, task=TASKS, name=NAMES, seed=SEEDS)
def test_a_task_s_permutation_is_one(
    width: int, task: int, name: str, seed: int
) -> None:
    permutation = task_permutation(width, task=task, name=name, seed=seed)
    assert permutation.dtype == np.int64
    np.testing.assert_array_equal(np.sort(permutation), np.arange(width))


@given(width=WIDTHS, name=NAMES, seed=SEEDS)
def test_the_first_task_keeps_the_identity(width: int, name: str, seed: int) -> None:
    first = task_permutation(width, task=0, name=name, seed=seed)
    np.testing.assert_array_equal(first, np.arange(width))


@given(task=st.integers(1, 1000), name=NAMES, seed=SEEDS)
def test_tasks_names_and_seeds_have_permutations_of_their_own(
    task: int, name: str, seed: int
) -> None:
    own = task_permutation(100, task=task, name=name, seed=seed)
    for other in (
        task_permutation(100, task=task + 1, name=name, seed=seed),
        task_permutation(100, task=task, name=name + ".0", seed=seed),
        task_permutation(100, task=task, name=name, seed=seed + 1),
        np.arange(100),
    ):
        # Two random permutations agree in one place on average.
        assert np.sum(own == other) < 20


def test_the_width_is_part_of_the_key() -> None:
    wide = task_permutation(200, task=1, name="layer")
    narrow = task_permutation(100, task=1, name="layer")
    assert np.sum(wide[wide < 100] == narrow) < 20
    assert np.sum(wide[:100] == narrow) < 20


def test_the_global_random_state_is_neither_used_nor_changed() -> None:
    np.random.seed(0)  # noqa: NPY002
    before = task_permutation(50, task=1, name="layer")
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    after = task_permutation(50, task=1, name="layer")
    np.testing.assert_array_equal(after, before)
    np.random.seed(0)  # noqa: NPY002
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_numpy_integers_are_the_same_key() -> None:
    own = task_permutation(np.int64(9), task=np.int32(2), name="x", seed=np.int64(3))
    np.testing.assert_array_equal(own, task_permutation(9, task=2, name="x", seed=3))


# --- invert and permute

PERMUTATIONS = st.sampled_from([1, 3, 8]).flatmap(
    lambda width: st.permutations(range(width)).map(np.asarray)
)


@given(permutation=PERMUTATIONS)
def test_output_j_is_input_permutation_j(
    backend: Backend, permutation: np.ndarray
) -> None:
    array = normal(0, len(permutation))
    permuted = backend.call(permute, array, permutation)
    for j, source in enumerate(permutation):
        assert permuted[j] == array[source]


@given(permutation=PERMUTATIONS)
def test_the_inverse_undoes_a_permutation_from_either_side(
    backend: Backend, permutation: np.ndarray
) -> None:
    inverse = backend.call(inverse_permutation, permutation)
    array = normal(0, len(permutation))
    there = backend.call(permute, array, permutation)
    np.testing.assert_array_equal(backend.call(permute, there, inverse), array)
    there = backend.call(permute, array, inverse)
    np.testing.assert_array_equal(backend.call(permute, there, permutation), array)


@pytest.mark.parametrize("axis", [-3, -2, -1, 0, 1, 2])
def test_channels_lie_along_any_axis(backend: Backend, axis: int) -> None:
    array = normal(0, 3, 4, 5)
    permutation = np.random.default_rng(1).permutation(array.shape[axis])
    permuted = backend.call(permute, array, permutation, axis=axis)
    assert permuted.shape == array.shape
    expected = np.moveaxis(array, axis, 0)[permutation]
    np.testing.assert_array_equal(np.moveaxis(permuted, axis, 0), expected)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_an_inverse_keeps_the_integers_of_its_permutation(
    backend: Backend, dtype: type
) -> None:
    inverse = backend.call(inverse_permutation, np.asarray([2, 0, 1], dtype=dtype))
    assert inverse.dtype == dtype
    np.testing.assert_array_equal(inverse, [1, 2, 0])
