"""Patches multiply to the gradient of the weight, cut or not."""

import pytest
import torch
from hypothesis import given
from torch import nn
from torch_backend.layer_kinds import SAME, assert_factors, convolutions
from torch_backend.tolerance import assert_near

from rgo_torch.layers.convolution import ConvolutionLayer


@pytest.mark.filterwarnings(SAME)
@given(convolution=convolutions())
def test_patches_of_a_convolution_are_the_factors_of_its_gradient(
    convolution: nn.Conv2d,
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 6, 5, dtype=torch.float64)
    assert_factors(ConvolutionLayer("", convolution), x)


def test_one_image_without_a_batch_axis_is_a_batch_of_one() -> None:
    torch.manual_seed(0)
    assert_factors(ConvolutionLayer("", nn.Conv2d(3, 4, 2)), torch.randn(3, 5, 5))


def test_groups_of_a_convolution_come_first() -> None:
    grouped = ConvolutionLayer("", nn.Conv2d(4, 6, 3, groups=2))
    assert grouped.input_rows(torch.zeros(7, 4, 5, 5)).shape == (2, 7, 9, 18)
    assert grouped.output_rows(torch.zeros(7, 6, 3, 3)).shape == (2, 7, 9, 3)


@pytest.mark.parametrize("per", ["sample", "batch"])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("options", [{"stride": 2}, {"stride": (3, 2), "dilation": 2}])
def test_patches_are_multiplied_without_being_cut_where_a_stride_leaves_some_input_out(
    options: dict, groups: int, per: str
) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(2, 4, 2, groups=groups, **options).double()
    layer = ConvolutionLayer("", convolution)
    x = torch.randn(3, 2, 7, 9, dtype=torch.float64)
    patches = layer.input_rows(x)
    columns = torch.randn(*patches.shape[:-3], 2, *patches.shape[-3:-1], 5).double()
    products = columns.mT @ patches.unsqueeze(-4)
    if per == "batch":
        products = products.sum(-3, keepdim=True)
    assert_near(layer.contract(x, columns, per), products, amplification=9)
