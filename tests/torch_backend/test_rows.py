"""Rows of inputs and outputs multiply to the gradient of the weight."""

import pytest
import torch
from torch import nn
from torch_backend.layer_kinds import assert_factors

from rgo_torch.layers.rows import LinearLayer


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (2, 3, 4, 5)])
def test_rows_of_a_linear_layer_are_the_factors_of_its_gradient(
    shape: tuple[int, ...],
) -> None:
    torch.manual_seed(0)
    assert_factors(LinearLayer("", nn.Linear(5, 3)), torch.randn(shape))


def test_the_samples_are_the_first_axis_and_the_rest_are_positions() -> None:
    linear = LinearLayer("", nn.Linear(5, 3))
    assert linear.input_rows(torch.zeros(2, 3, 4, 5)).shape == (2, 12, 5)
