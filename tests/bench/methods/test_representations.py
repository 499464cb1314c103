import torch
from torch import nn

from rgo_bench.methods.representations import input_rows, recorded_inputs
from rgo_torch.layout import row_layers


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def test_each_row_is_what_a_linear_layer_takes_from_a_sample() -> None:
    network, x = mlp(), torch.randn(5, 3)
    layers = row_layers(network)
    rows = input_rows(network, layers, x)
    assert list(rows) == ["0", "2"]
    torch.testing.assert_close(rows["0"], x)
    torch.testing.assert_close(rows["2"], network[0](x).detach().clamp(min=0))


def test_each_row_is_a_patch_that_a_convolution_takes() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 3, 2, bias=False), nn.ReLU(), nn.Flatten())
    layers = row_layers(network)
    x = torch.randn(4, 2, 3, 3)
    rows = input_rows(network, layers, x)["0"]
    patches = [
        image[:, i : i + 2, j : j + 2].flatten()
        for image in x
        for i in range(2)
        for j in range(2)
    ]
    torch.testing.assert_close(rows, torch.stack(patches))


def test_rows_carry_no_graph_and_leave_no_hook_behind() -> None:
    network = mlp()
    layers = row_layers(network)
    rows = input_rows(network, layers, torch.randn(5, 3))
    assert not any(tensor.requires_grad for tensor in rows.values())
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_recording_leaves_the_gradients_as_they_are() -> None:
    network, x = mlp(), torch.randn(5, 3)
    layers = row_layers(network)
    network(x).square().sum().backward()
    expected = [parameter.grad.clone() for parameter in network.parameters()]
    network.zero_grad()
    with recorded_inputs(layers) as inputs:
        loss = network(x).square().sum()
    loss.backward()
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=0, atol=0)
    torch.testing.assert_close(inputs["0"], x, rtol=0, atol=0)
    assert not inputs["2"].requires_grad


def test_running_statistics_stay_those_of_training() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    trained = network[1].running_mean.clone()
    input_rows(network, row_layers(network), torch.randn(5, 3))
    torch.testing.assert_close(network[1].running_mean, trained, rtol=0, atol=0)
    assert network[1].training
