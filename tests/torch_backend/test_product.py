"""Rows times a projection are the same by either library."""

import pytest
import torch
from torch import Tensor
from torch_backend.factors import ROWS, assert_projected, projected_model
from torch_backend.nets import batch, loss_of
from torch_backend.tolerance import assert_near

from rgo_torch.fast import packed, product
from rgo_torch.fast.packed import PackedProduct
from rgo_torch.fast.precision import true_float32
from rgo_torch.fast.product import projected_rows

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="PyTorch was built without oneDNN"
)


def symmetric(n: int) -> Tensor:
    matrix = torch.randn(n, n, generator=torch.Generator().manual_seed(0))
    return matrix + matrix.mT


def rows_of_shape(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(product, "LARGE", 0)


@pytest.mark.usefixtures("everything_is_large")
@pytest.mark.parametrize("by_columns", [False, True])
@pytest.mark.parametrize("spaced", [False, True])
def test_large_products_are_the_plain_ones(by_columns: bool, spaced: bool) -> None:
    P = symmetric(40)
    P = P.mT.contiguous().mT if by_columns else P
    X = rows_of_shape(24, 80)[:, ::2] if spaced else rows_of_shape(24, 40)
    with torch.no_grad():
        found = projected_rows(P, X)
    bound = float(X.norm() * torch.linalg.matrix_norm(P, 2))
    assert_near(found, X.double() @ P.double(), scale=bound)
    assert found.is_contiguous()


@pytest.mark.usefixtures("everything_is_large")
@pytest.mark.parametrize("shape", [(40,), (3, 24, 40)])
def test_vectors_and_batches_take_the_plain_way(shape: tuple[int, ...]) -> None:
    P, X = symmetric(40), rows_of_shape(*shape)
    with torch.no_grad():
        expected = P @ X if X.ndim == 1 else X @ P
        assert torch.equal(projected_rows(P, X), expected)


@pytest.mark.usefixtures("everything_is_large")
def test_other_types_take_the_plain_way() -> None:
    P, X = symmetric(40).double(), rows_of_shape(24, 40).double()
    with torch.no_grad():
        assert torch.equal(projected_rows(P, X), X @ P)


@pytest.mark.usefixtures("everything_is_large")
def test_a_product_that_is_differentiated_again_has_a_derivative() -> None:
    P, X = symmetric(40), rows_of_shape(24, 40).requires_grad_()
    projected_rows(P, X).sum().backward()
    assert X.grad is not None
    assert_near(X.grad, P.sum(0).expand(24, -1), amplification=10)


def test_small_products_are_the_plain_ones_bit_for_bit() -> None:
    P, X = symmetric(40), rows_of_shape(24, 40)
    with torch.no_grad():
        assert torch.equal(projected_rows(P, X), X @ P)


@pytest.fixture
def always_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "LARGE", 0)
    monkeypatch.setattr(packed, "capability", lambda: "AVX512")


@pytest.mark.usefixtures("always_packed")
@pytest.mark.parametrize("by_columns", [False, True])
@pytest.mark.parametrize("count", [1, 10, 24])
def test_packed_products_are_the_plain_ones(by_columns: bool, count: int) -> None:
    times, X = PackedProduct(), rows_of_shape(count, 40)
    for seed in range(2):  # the next task's takes its place
        P = symmetric(40) + seed * torch.eye(40)
        P = P.mT.contiguous().mT if by_columns else P
        bound = float(X.norm() * torch.linalg.matrix_norm(P, 2))
        for _ in range(2):
            with torch.no_grad():
                found = times(P, X)
            assert_near(found, X.double() @ P.double(), scale=bound)


@pytest.mark.usefixtures("always_packed")
def test_a_projection_that_was_written_to_is_packed_anew() -> None:
    times, P, X = PackedProduct(), symmetric(40), rows_of_shape(10, 40)
    with torch.no_grad():
        times(P, X)
        P.zero_()
        assert not times(P, X).any()


@pytest.mark.usefixtures("always_packed")
def test_packed_products_are_not_rounded() -> None:
    P, X = symmetric(40), rows_of_shape(24, 40)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.no_grad(), true_float32(X):
            found = PackedProduct()(P, X)
    finally:
        torch.set_float32_matmul_precision(before)
    bound = float(X.norm() * torch.linalg.matrix_norm(P, 2))
    assert_near(found, X.double() @ P.double(), scale=bound)


def test_a_step_of_a_wide_layer_multiplies_packed(
    monkeypatch: pytest.MonkeyPatch, always_packed: None
) -> None:
    counted: list[int] = []
    plain = packed.multiply_packed

    def watched(rows: Tensor, matrix: Tensor) -> Tensor:
        counted.append(len(rows))
        return plain(rows, matrix)

    monkeypatch.setattr(packed, "multiply_packed", watched)
    model, projector = projected_model()
    assert_projected(model, projector, lambda: loss_of(model, *batch(ROWS)))
    assert counted == [ROWS, ROWS]
