"""Large blocks on the host: half the product, and its mirror image."""

import numpy as np
import pytest
import torch
from array_api_compat import torch as torch_namespace
from core.cases import normal

from rgo_core import SecondMoment, empty_moment, observe
from rgo_core._gram import LARGE, add_gram
from rgo_core._matrices import TILE

ROWS, N = 300, 2 * TILE + 5  # the last tile is cut off
BEFORE = np.eye(N) + 1 / (1 + np.add.outer(np.arange(N), np.arange(N)))
VECTORS = normal(0, ROWS, N)


def test_the_case_is_one_of_those_that_are_large() -> None:
    assert ROWS * N >= LARGE


@pytest.mark.parametrize("xp", [np, torch_namespace])
def test_a_large_block_is_added_in_place_and_symmetric_bit_by_bit(xp: object) -> None:
    start = xp.asarray(BEFORE.copy())
    moment = SecondMoment(start, xp.asarray(1))
    found = observe(moment, xp.asarray(VECTORS), donate=True, xp=xp)
    assert found.matrix is start
    matrix = np.asarray(found.matrix)
    expected = BEFORE + VECTORS.T @ VECTORS
    np.testing.assert_allclose(matrix, expected, rtol=0, atol=1e-15 * ROWS * 20)
    np.testing.assert_array_equal(matrix, matrix.T)


def test_vectors_of_another_dtype_and_order_give_the_same() -> None:
    moment = observe(empty_moment(N), VECTORS, donate=True)
    single = torch.from_numpy(VECTORS).float().mT.contiguous().mT
    found = observe(
        empty_moment(N, xp=torch_namespace), single, donate=True, xp=torch_namespace
    )
    np.testing.assert_allclose(found.matrix, moment.matrix, atol=1e-3)


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
@pytest.mark.parametrize("how", ["columns", "gradient", "vmap"])
def test_what_blas_cannot_write_to_is_added_as_before(how: str) -> None:
    matrix, rows = torch.from_numpy(BEFORE.copy()), torch.from_numpy(VECTORS)
    expected = BEFORE + VECTORS.T @ VECTORS
    if how == "columns":
        matrix = matrix.mT
    elif how == "gradient":
        rows = rows.clone().requires_grad_()
    if how == "vmap":
        found = torch.func.vmap(lambda m, r: add_gram(m, r, torch_namespace))(
            matrix[None], rows[None]
        )[0]
    else:
        found = add_gram(matrix, rows, torch_namespace)
    np.testing.assert_allclose(found.detach(), expected, atol=1e-11)


def test_memory_that_blas_would_copy_or_must_not_write_to_is_left_alone() -> None:
    expected = VECTORS.T @ VECTORS
    shifted = np.frombuffer(bytearray(8 * N * N + 1), np.uint8)[1:].view("f8")
    unaligned = shifted.reshape(N, N)
    found = add_gram(unaligned, VECTORS, np)
    np.testing.assert_allclose(found, expected, atol=1e-11)
    kept = bytes(8 * N * N)
    with pytest.raises(ValueError, match="read-only"):
        add_gram(np.frombuffer(kept).reshape(N, N), VECTORS, np)
    assert not any(kept)


def test_a_tensor_whose_sign_is_still_to_be_turned_is_added() -> None:
    rows = torch.complex(torch.zeros(ROWS, N).double(), torch.from_numpy(VECTORS))
    matrix = torch.zeros(N, N, dtype=torch.float64)
    found = add_gram(matrix, rows.conj().imag, torch_namespace)
    np.testing.assert_allclose(found, VECTORS.T @ VECTORS, atol=1e-11)


@pytest.mark.parametrize("groups", [(2,), (0,), (2, 5), (2, 1, 5)])
def test_groups_are_added_in_their_own_memory(groups: tuple[int, ...]) -> None:
    matrix = torch.zeros(*groups, 3, 3).double()
    rows = torch.randn(*groups, 4, 3).double()
    assert add_gram(matrix, rows, torch_namespace) is matrix
    torch.testing.assert_close(matrix, rows.mT @ rows)
