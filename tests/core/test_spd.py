import numpy as np
import pytest
from core.backends import Backend
from core.cases import Case, cases, spectral_case
from core.tolerance import assert_close, assert_symmetric
from hypothesis import given

from rgo_core._spd import spd_inverse


def inverse(backend: Backend, matrix: np.ndarray) -> np.ndarray:
    return backend.call(spd_inverse, matrix, backend.xp)


@given(case=cases())
def test_the_inverse_is_the_explicit_one(backend: Backend, case: Case) -> None:
    result = inverse(backend, case.information)
    assert_close(result, case.inverse, condition=case.condition)
    assert_symmetric(result)


def test_its_residual_on_either_side_is_that_of_a_cholesky_inverse(
    backend: Backend,
) -> None:
    # A general inverse is bounded on one side only.
    case = spectral_case((40, 60), log_condition=10, damping=1.0, seed=2)
    matrix = (case.information + case.information.T) / 2
    result = inverse(backend, matrix)
    identity = np.eye(40)
    assert_close(matrix @ result, identity, condition=case.condition)
    assert_close(result @ matrix, identity, condition=case.condition)


def test_groups_are_inverted_as_in_a_loop(backend: Backend) -> None:
    shared = {"log_condition": 3, "damping": 1.0}
    groups = [
        [spectral_case((4, 5), seed=3 * i + j, **shared) for j in range(3)]
        for i in range(2)
    ]
    matrices = np.asarray([[case.information for case in row] for row in groups])
    together = inverse(backend, matrices)
    assert_symmetric(together)
    for i, j in np.ndindex(2, 3):
        alone = inverse(backend, matrices[i, j])
        assert_close(together[i, j], alone, condition=groups[i][j].condition)


def test_a_matrix_without_rows_has_an_inverse_without_rows(backend: Backend) -> None:
    assert inverse(backend, np.zeros((0, 0))).shape == (0, 0)


@pytest.mark.parametrize("bad", [np.diag([1.0, -1.0]), np.zeros((2, 2))])
def test_an_indefinite_matrix_is_refused(backend: Backend, bad: np.ndarray) -> None:
    groups = np.stack([np.eye(2), bad])
    # NumPy, under its strict namespace, has another message than ours.
    message = r"the matrix is not positive definite|(?i:not positive.definite)"
    with pytest.raises(np.linalg.LinAlgError, match=message):
        inverse(backend, groups)


def test_while_jax_traces_an_indefinite_matrix_alone_is_nan() -> None:
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        groups = jax.numpy.stack([jax.numpy.eye(2), jax.numpy.zeros((2, 2))])
        result = jax.jit(lambda matrix: spd_inverse(matrix, jax.numpy))(groups)
        # A constant of a compiled function has no values to look at either.
        constant = jax.jit(lambda: spd_inverse(groups, jax.numpy))()
    for found in (result, constant):
        np.testing.assert_array_equal(found[0], np.eye(2))
        assert np.all(np.isnan(found[1]))
