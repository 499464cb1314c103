"""Rows of inputs and outputs multiply to the gradient of the weight."""

import pytest
import torch
from hypothesis import given
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch_backend.layer_kinds import SAME, convolutions
from torch_backend.nets import compiled, conv_net, mlp
from torch_backend.tolerance import assert_near

from rgo_torch.convolution import Conv2dLayer
from rgo_torch.layer import Layer, LinearLayer, rows_of
from rgo_torch.layers import find_layers, is_compiled, original_model


def assert_factors(layer: Layer, x: torch.Tensor) -> None:
    """Demand ``D^T X == G`` for a random output gradient."""
    output = layer.module(x)
    d = torch.randn_like(output)
    (gradient,) = torch.autograd.grad(output, layer.weight, d)
    inputs, outputs = rows_of(layer.input_rows(x)), rows_of(layer.output_rows(d))
    assert inputs.shape[-1] == layer.features
    assert output.shape[layer.channel_axis] == layer.width
    product = outputs.mT @ inputs
    assert_near(product, layer.weight_rows(gradient), amplification=len(inputs))


@pytest.mark.filterwarnings(SAME)
@given(convolution=convolutions())
def test_patches_of_a_convolution_are_the_factors_of_its_gradient(
    convolution: nn.Conv2d,
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 6, 5, dtype=torch.float64)
    assert_factors(Conv2dLayer("", convolution), x)


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (2, 3, 4, 5)])
def test_rows_of_a_linear_layer_are_the_factors_of_its_gradient(
    shape: tuple[int, ...],
) -> None:
    torch.manual_seed(0)
    assert_factors(LinearLayer("", nn.Linear(5, 3)), torch.randn(shape))


def test_one_image_without_a_batch_axis_is_a_batch_of_one() -> None:
    torch.manual_seed(0)
    assert_factors(Conv2dLayer("", nn.Conv2d(3, 4, 2)), torch.randn(3, 5, 5))


def test_the_samples_are_the_first_axis_and_the_rest_are_positions() -> None:
    linear = LinearLayer("", nn.Linear(5, 3))
    assert linear.input_rows(torch.zeros(2, 3, 4, 5)).shape == (2, 12, 5)
    grouped = Conv2dLayer("", nn.Conv2d(4, 6, 3, groups=2))
    assert grouped.input_rows(torch.zeros(7, 4, 5, 5)).shape == (2, 7, 9, 18)
    assert grouped.output_rows(torch.zeros(7, 6, 3, 3)).shape == (2, 7, 9, 3)


def test_layers_come_with_their_names_and_sizes() -> None:
    layers, skipped = find_layers(conv_net())
    found = [(x.name, x.features, x.outputs, x.channel_axis) for x in layers]
    assert found == [("0", 27, 6, -3), ("2", 24, 24, -3), ("5", 96, 4, -1)]
    assert not skipped


def reasons(model: nn.Module) -> dict[str, str]:
    return dict(find_layers(model)[1])


def test_modules_that_pass_through_say_why() -> None:
    found = reasons(
        nn.ModuleDict(
            {
                "norm": nn.LayerNorm(3),
                "embedding": nn.Embedding(3, 4),
                "attention": nn.MultiheadAttention(4, 2),
                "spectral": parametrizations.spectral_norm(nn.Linear(3, 3)),
                "linear": nn.Linear(3, 3),
                "flatten": nn.Flatten(),
            }
        )
    )
    assert found.pop("spectral.parametrizations.weight")
    assert found == {
        "norm": "LayerNorm is neither Linear nor Conv2d",
        "embedding": "Embedding is neither Linear nor Conv2d",
        "attention": "MultiheadAttention is neither Linear nor Conv2d",
        "attention.out_proj": "NonDynamicallyQuantizableLinear, which "
        "nn.MultiheadAttention uses without calling it",
        "spectral": "ParametrizedLinear whose weight is computed by a parametrization",
    }


def test_a_pruned_weight_passes_through() -> None:
    module = prune.random_unstructured(nn.Linear(3, 3), "weight", amount=1)
    assert reasons(module) == {
        "Linear": "Linear whose weight is computed by a parametrization"
    }


def test_a_layer_of_integers_passes_through() -> None:
    module = nn.Linear(3, 3)
    module.weight = nn.Parameter(module.weight.to(torch.int8), requires_grad=False)
    assert reasons(module) == {"Linear": "Linear with parameters of torch.int8"}


def test_a_bias_that_is_computed_counts_as_none() -> None:
    class Doubled(nn.Module):
        def forward(self, bias: torch.Tensor) -> torch.Tensor:
            return 2 * bias

    module = nn.Linear(3, 3)
    nn.utils.parametrize.register_parametrization(module, "bias", Doubled())
    (layer,), _ = find_layers(module)
    assert layer.bias is None
    assert layer.weight is module.weight


def test_a_lazy_module_is_refused_until_it_has_a_shape() -> None:
    model = nn.Sequential(nn.LazyLinear(4))
    with pytest.raises(ValueError, match=r"module '0' \(LazyLinear\) has no shape yet"):
        find_layers(model)
    model(torch.zeros(2, 3))
    assert [layer.features for layer in find_layers(model)[0]] == [3]


def test_wrappers_do_not_change_the_names() -> None:
    model = mlp()
    names = [layer.name for layer in find_layers(model)[0]]
    wrapped = compiled(nn.DataParallel(compiled(model)))
    assert original_model(wrapped) is model
    assert [layer.name for layer in find_layers(wrapped)[0]] == names
    model[2] = compiled(model[2])
    assert [layer.name for layer in find_layers(model)[0]] == names


def test_compiled_models_and_parts_are_recognised() -> None:
    model = mlp()
    assert not is_compiled(model)
    assert is_compiled(compiled(model))
    model[2].compile(backend="eager")
    assert is_compiled(model)


@pytest.mark.parametrize("per", ["sample", "batch"])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("options", [{"stride": 2}, {"stride": (3, 2), "dilation": 2}])
def test_patches_are_multiplied_without_being_cut_where_a_stride_leaves_some_input_out(
    options: dict, groups: int, per: str
) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(2, 4, 2, groups=groups, **options).double()
    layer = Conv2dLayer("", convolution)
    x = torch.randn(3, 2, 7, 9, dtype=torch.float64)
    patches = layer.input_rows(x)
    columns = torch.randn(*patches.shape[:-3], 2, *patches.shape[-3:-1], 5).double()
    products = columns.mT @ patches.unsqueeze(-4)
    if per == "batch":
        products = products.sum(-3, keepdim=True)
    assert_near(layer.contract(x, columns, per), products, amplification=9)
