"""The layers that RGO knows are found in any model, and the others named."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch_backend.nets import compiled, conv_net, mlp

from rgo_torch.layers import find_layers, is_compiled, original_model


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
