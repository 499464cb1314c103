import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch
from array_api_compat import torch as torch_namespace
from core.backends import Backend
from core.cases import Case, cases, normal, spectral_case
from core.tolerance import assert_close, assert_symmetric
from hypothesis import given
from torch.autograd import forward_ad

from rgo_core import SecondMoment, consolidate
from rgo_core._matrices import TILE
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


@pytest.mark.parametrize("shape", [(1, 1), (2, 3, 5, 5), (TILE + 5, TILE + 5)])
@pytest.mark.parametrize("xp", [np, torch_namespace])
def test_what_is_donated_is_overwritten_by_the_same_inverse(
    xp: object, shape: tuple[int, ...]
) -> None:
    rows = normal(0, *shape)
    matrix = np.eye(shape[-1]) + rows.mT @ rows
    given = xp.asarray(matrix.copy())
    expected = spd_inverse(given, xp)
    np.testing.assert_array_equal(given, matrix)
    found = spd_inverse(given, xp, donate=True)
    assert np.shares_memory(np.asarray(found), np.asarray(given))
    np.testing.assert_array_equal(found, expected)


def test_a_gradient_flows_through_what_is_donated() -> None:
    matrix = torch.eye(3, dtype=torch.float64).mul(2).requires_grad_()
    inverse = spd_inverse(matrix * 1, torch_namespace, donate=True)
    (gradient,) = torch.autograd.grad(inverse.trace(), matrix)
    torch.testing.assert_close(gradient, -torch.eye(3, dtype=torch.float64) / 4)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_what_is_donated_has_derivatives_in_forward_mode() -> None:
    def inverse(matrix: torch.Tensor) -> torch.Tensor:
        return spd_inverse(matrix * 1, torch_namespace, donate=True)

    matrix = 2 * torch.eye(3, dtype=torch.float64)
    _, transformed = torch.func.jvp(inverse, (matrix,), (torch.ones_like(matrix),))
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(matrix, torch.ones_like(matrix))
        tangent = forward_ad.unpack_dual(inverse(dual)).tangent
    for found in (transformed, tangent):
        torch.testing.assert_close(found, -torch.ones_like(matrix) / 4)


def test_numpy_consolidates_in_the_memory_of_the_result() -> None:
    n = 500
    moment = SecondMoment(np.eye(n), np.asarray(1))
    tracemalloc.start()
    consolidate(moment, 0.5, normalized=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.3 * 8 * n**2


MEASURED_IN_TORCH = """
import resource, torch, rgo_core
torch.set_num_threads(1)
small, large = (
    rgo_core.SecondMoment(torch.eye(n, dtype=torch.float64), torch.tensor(1))
    for n in (200, 2000)
)
rgo_core.consolidate(small, 0.5, normalized=False)  # loads what it needs
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
rgo_core.consolidate(large, 0.5, normalized=False)
print((peak() - before) * 1024 / (8 * 2000**2))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts in KiB on Linux alone")
def test_pytorch_consolidates_in_the_memory_of_the_result() -> None:
    told = subprocess.run(
        [sys.executable, "-c", MEASURED_IN_TORCH],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(told.stdout) < 1.5
