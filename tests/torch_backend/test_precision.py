"""Products with a projection run in true float32, and the user's flags stay."""

from typing import Any

import pytest
import torch

from rgo_torch.fast.precision import true_float32, without_tf32

NAMES = ("fp32_precision", "allow_tf32")
FLAG = next(name for name in NAMES if hasattr(torch.backends.cuda.matmul, name))
ALLOWED = "tf32" if FLAG == "fp32_precision" else True
FORBIDDEN = "ieee" if FLAG == "fp32_precision" else False


def tf32() -> object:
    return getattr(torch.backends.cuda.matmul, FLAG)


@pytest.fixture
def allowed() -> object:
    before = tf32()
    setattr(torch.backends.cuda.matmul, FLAG, ALLOWED)
    yield ALLOWED
    setattr(torch.backends.cuda.matmul, FLAG, before)


def test_tf32_is_off_inside_and_back_outside(allowed: object) -> None:
    with without_tf32():
        assert tf32() == FORBIDDEN
    assert tf32() == allowed


def test_tf32_comes_back_after_an_error(allowed: object) -> None:
    with pytest.raises(KeyError), without_tf32():
        raise KeyError
    assert tf32() == allowed


def test_autocast_is_off_inside_and_back_outside() -> None:
    matrix = torch.randn(4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with true_float32(matrix):
            assert (matrix @ matrix).dtype == torch.float32
        assert (matrix @ matrix).dtype == torch.bfloat16


def test_on_the_cpu_without_autocast_nothing_changes(allowed: object) -> None:
    with true_float32(torch.zeros(1)):
        assert tf32() == allowed


@pytest.mark.skipif(
    not hasattr(torch.backends.mkldnn, "matmul"), reason="needs a newer PyTorch"
)
@pytest.mark.parametrize("precision", ["medium", "high", "highest"])
def test_coarse_products_on_the_cpu_are_off_inside_and_back_outside(
    precision: str,
) -> None:
    flags: Any = torch.backends.mkldnn.matmul
    whole = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        before = flags.fp32_precision
        with true_float32(torch.zeros(1)):
            assert flags.fp32_precision in ("ieee", "none")
        assert flags.fp32_precision == before
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(whole)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_tf32_is_off_inside(allowed: object) -> None:
    with true_float32(torch.zeros(1, device="cuda")):
        assert tf32() == FORBIDDEN
    assert tf32() == allowed
