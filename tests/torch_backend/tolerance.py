"""How far a result may lie from its oracle: eps times what amplifies it."""

import torch
from torch import Tensor

ERROR = 32.0


def assert_near(
    actual: Tensor,
    expected: Tensor,
    *,
    amplification: float = 1.0,
    scale: float | None = None,
) -> None:
    """Bound the norm of the error by eps of `actual`, relative to the oracle's norm.

    `amplification` is a condition number or a count of steps; `scale` stands in for the
    oracle's norm where its terms may cancel.
    """
    assert actual.shape == expected.shape
    error = float((actual.detach().double() - expected.detach().double()).norm())
    allowed = float(expected.detach().double().norm()) if scale is None else scale
    assert error <= ERROR * amplification * torch.finfo(actual.dtype).eps * allowed


def assert_far(actual: Tensor, expected: Tensor) -> None:
    """Demand a difference that no rounding explains: a tenth of the oracle's norm."""
    assert float((actual - expected).norm()) > 0.1 * float(expected.norm())
