import math

import pytest
import torch
from torch import nn

from rgo_bench.networks import NETWORKS, mlp, mlp_glorot


def linears(network: nn.Module) -> list[nn.Linear]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear)]


def test_they_are_networks_to_choose() -> None:
    assert NETWORKS["mlp"] is mlp
    assert NETWORKS["mlp-glorot"] is mlp_glorot


@pytest.mark.parametrize("shape", [(784,), (28, 28), (1, 28, 28)])
def test_for_mnist_it_has_the_widths_of_the_paper(shape: tuple[int, ...]) -> None:
    layers = linears(mlp(shape, 10, seed=0))
    widths = [(layer.in_features, layer.out_features) for layer in layers]
    assert widths == [(784, 256), (256, 256), (256, 10)]
    assert all(layer.bias is not None for layer in layers)


def test_images_are_flattened_and_flat_inputs_need_no_layer_for_it() -> None:
    images = torch.randn(8, 1, 2, 3, generator=torch.Generator().manual_seed(0))
    shown, flat = mlp((1, 2, 3), 4, seed=0), mlp((6,), 4, seed=0)
    torch.testing.assert_close(shown(images), flat(images.reshape(8, 6)))
    # Checkpoints name the layers.
    assert next(iter(flat.state_dict())) == "0.weight"


def test_it_computes_relu_between_layers_and_none_after_the_last() -> None:
    network = mlp((6,), 4, seed=0)
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    h = x
    for layer in linears(network)[:-1]:
        h = (h @ layer.weight.T + layer.bias).clamp(min=0)
    head = linears(network)[-1]
    torch.testing.assert_close(network(x), h @ head.weight.T + head.bias)
    assert (network(x) < 0).any()


def test_weights_are_uniform_within_one_over_root_n_and_biases_zero() -> None:
    for layer in linears(mlp((64,), 10, seed=1)):
        bound = 1 / math.sqrt(layer.in_features)
        count = layer.weight.numel()
        assert layer.weight.abs().max() <= bound
        # Of n uniform draws none beyond 1 - 20 / n of the bound has odds of e^-20.
        assert layer.weight.abs().max() > (1 - 20 / count) * bound
        # The mean has a standard deviation of bound / sqrt(3 n): six of them.
        assert abs(layer.weight.mean()) < 6 * bound / math.sqrt(3 * count)
        assert not layer.bias.any()


def test_a_seed_gives_the_same_weights_whatever_was_drawn_before() -> None:
    first = mlp((6,), 4, seed=5).state_dict()
    torch.rand(3)
    again, other = mlp((6,), 4, seed=5).state_dict(), mlp((6,), 4, seed=6).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])


def test_glorot_weights_have_its_bound_and_biases_of_a_tenth() -> None:
    for layer in linears(mlp_glorot((64,), 10, seed=1)):
        bound = math.sqrt(6 / (layer.in_features + layer.out_features))
        count = layer.weight.numel()
        assert (1 - 20 / count) * bound < layer.weight.abs().max() <= bound
        assert (layer.bias == torch.tensor(0.1)).all()


def test_glorot_differs_from_the_papers_in_the_initial_weights_alone() -> None:
    usual, glorot = mlp((6,), 4, seed=0), mlp_glorot((6,), 4, seed=0)
    glorot.load_state_dict(usual.state_dict())
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(usual(x), glorot(x))
