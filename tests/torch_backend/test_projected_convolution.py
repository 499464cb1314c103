"""Convolutions that are projected by their factors."""

import pytest
import torch
from hypothesis import given
from torch import Tensor, nn
from torch_backend.layer_kinds import SAME, convolutions
from torch_backend.nets import (
    CLASSES,
    gradients_of,
    loss_of,
    sgd,
)
from torch_backend.tolerance import assert_far, assert_near

from rgo_torch import GradientProjector, second_moments
from rgo_torch.layers.convolution import ConvolutionLayer
from rgo_torch.projecting.projected_forward import ProjectedForward, _projected


@pytest.mark.filterwarnings(SAME)
@given(convolution=convolutions())
def test_a_convolution_of_any_kind_is_projected_by_its_factors(
    convolution: nn.Conv2d,
) -> None:
    layer = ConvolutionLayer("", convolution)
    assert_convolution_projected(layer, torch.randn(2, 4, 6, 5, dtype=torch.float64))


def test_one_image_without_a_batch_axis_is_projected_by_its_factors() -> None:
    torch.manual_seed(0)
    layer = ConvolutionLayer("", nn.Conv2d(3, 200, 2, padding=1).double())
    assert_convolution_projected(layer, torch.randn(3, 4, 4, dtype=torch.float64))


@pytest.mark.parametrize("padding", ["same", 1])
def test_a_convolution_with_few_positions_takes_the_cheaper_way(
    monkeypatch: pytest.MonkeyPatch, padding: str | int
) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(4, 128, 3, padding=padding)
    model = nn.Sequential(convolution, nn.Tanh(), nn.Flatten(), nn.Linear(512, CLASSES))
    x, y = torch.randn(3, 4, 2, 2), torch.tensor([0, 3, 1])
    projector = GradientProjector(model, sgd(model))
    projector.consolidate(second_moments(model, [(x, y)]), damping=1e-4)
    calls = []
    call = ConvolutionLayer.input_rows
    monkeypatch.setattr(
        ConvolutionLayer,
        "input_rows",
        lambda self, x: calls.append(self) or call(self, x),
    )
    with projector.paused():
        plain = gradients_of(model, lambda: loss_of(model, x, y))["0.weight"]
    found = gradients_of(model, lambda: loss_of(model, x, y))["0.weight"]
    assert bool(calls) == (padding == 1)
    P = projector.projections["0.weight"].double()
    expected = plain.reshape(128, -1).double() @ P
    assert_near(found.reshape(128, -1), expected, amplification=len(P))
    assert_far(found, plain)


def assert_convolution_projected(layer: ConvolutionLayer, x: Tensor) -> None:
    """Demand the gradients of input and bias, and ``G P`` of the weight."""
    x.requires_grad_()
    n, groups = layer.features, layer.groups
    P = torch.randn(groups, n, n, dtype=torch.float64)
    P = (P + P.mT).squeeze(0) if groups == 1 else P + P.mT
    d = torch.randn_like(layer.module(x))
    plain = torch.autograd.grad(layer.module(x), [x, *layer.module.parameters()], d)
    if not layer.is_plain:
        return
    owner = ProjectedForward(layer, lambda: P)
    output = _projected(x, layer.weight, layer.bias, owner)
    assert torch.equal(output, owner._plain(x))
    found = torch.autograd.grad(output, [x, *layer.module.parameters()], d)
    owner.remove()
    expected = (layer.weight_rows(plain[1]) @ P).reshape(plain[1].shape)
    assert_near(found[0], plain[0], amplification=n)
    bound = float(P.norm() * x.detach().norm() * d.norm())
    assert_near(found[1], expected, scale=bound, amplification=n)
    for one, other in zip(found[2:], plain[2:], strict=True):
        assert_near(one, other, scale=float(d.norm()), amplification=n)
