import pytest
import torch
from torch import Tensor, nn

from rgo_bench.methods.weight_projector import freeze_biases, project_weights
from rgo_torch.layout import row_layers


def linear() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def convolutional() -> nn.Module:
    return nn.Sequential(nn.Conv2d(4, 6, 2), nn.Flatten(), nn.Linear(24, 3))


def grouped() -> nn.Module:
    return nn.Sequential(nn.Conv2d(4, 6, 2, groups=2), nn.Flatten(), nn.Linear(24, 3))


def symmetric(*shape: int) -> Tensor:
    matrix = torch.randn(*shape)
    return matrix + matrix.mT


@pytest.mark.parametrize("count", [2, 30], ids=["by factors", "whole"])
@pytest.mark.parametrize("make", [linear, convolutional, grouped])
def test_weight_gradients_are_multiplied_and_biases_left(
    make: type[nn.Module], count: int
) -> None:
    torch.manual_seed(0)
    network = make()
    x = torch.randn(count, 6) if make is linear else torch.randn(count, 4, 3, 3)
    layers = row_layers(network)
    network(x).square().sum().backward()
    raw = {n: p.grad.double().clone() for n, p in network.named_parameters()}
    network.zero_grad()
    matrices = project_weights(network, layers)
    for layer in layers:
        groups = () if layer.groups == 1 else (layer.groups,)
        shape = (*groups, layer.features, layer.features)
        matrices[layer.name] = symmetric(*shape)
    network(x).square().sum().backward()
    for layer in layers:
        own = matrices[layer.name].double()
        own = own.reshape(-1, layer.features, layer.features)
        rows = raw[f"{layer.name}.weight"].reshape(layer.groups, -1, layer.features)
        expected = torch.stack([g @ m for g, m in zip(rows, own, strict=True)])
        actual = layer.weight.grad.reshape(expected.shape).double()
        eps = torch.finfo(torch.float32).eps
        scale = float(rows.norm() * own.norm())
        torch.testing.assert_close(actual, expected, rtol=0, atol=20 * eps * scale)
        bias = raw[f"{layer.name}.bias"].float()
        torch.testing.assert_close(layer.bias.grad, bias, rtol=0, atol=0)


def test_layers_without_a_matrix_keep_their_gradients() -> None:
    torch.manual_seed(0)
    network, x = linear(), torch.randn(5, 6)
    layers = row_layers(network)
    matrices = project_weights(network, layers)
    matrices["0"] = torch.zeros(6, 6)
    network(x).square().sum().backward()
    head = network[2].weight.grad.clone()
    torch.testing.assert_close(network[0].weight.grad, torch.zeros(8, 6))
    torch.testing.assert_close(network[2].weight.grad, head, rtol=0, atol=0)


def test_a_frozen_weight_is_left_out() -> None:
    network, x = linear(), torch.randn(5, 6)
    layers = row_layers(network)
    matrices = project_weights(network, layers)
    matrices["0"] = torch.eye(6)
    network[0].weight.requires_grad_(False)
    network(x).square().sum().backward()
    assert network[0].weight.grad is None


def test_frozen_biases_are_not_trained() -> None:
    network, x = linear(), torch.randn(5, 6)
    network.append(nn.Linear(3, 3, bias=False))
    layers = row_layers(network)
    freeze_biases(layers)
    network(x).square().sum().backward()
    assert network[0].bias.grad is None
    assert network[2].bias.grad is None
    assert network[0].weight.grad is not None
