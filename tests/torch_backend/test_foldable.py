"""What takes up an encoding when a model is merged, and what is refused."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune
from torch_backend.nets import sgd
from torch_backend.tolerance import assert_near

from rgo_torch import RGO, Channels, Place
from rgo_torch.encoder.merging import merged_copy

WIDTH = 16


def inputs() -> Tensor:
    return torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(0))


def merged(model: nn.Module, **options: Any) -> tuple[nn.Module, Tensor]:
    """Return a copy for a model's second task, and what the model gives out in it."""
    rgo = RGO(model, sgd(model), seed=7, **options)
    assert rgo.encoder is not None
    rgo.encoder.set_task(1)
    copied = merged_copy(model, rgo.encoder, rgo.projector.parameters.values())
    return copied, model(inputs())


class Indices(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.abs().mul(4).clamp(max=8).long()


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Bilinear(8, 8, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.layer(*x.split(8, -1))
        return output


class Pooled(nn.Module):
    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).mean(2) if self.axis == 1 else x.mean(1)


def convolved(kind: Any, axes: int) -> list[nn.Module]:
    shape = (2, 8, 1, 1)[: axes + 1]
    return [nn.Unflatten(1, shape), kind(2, WIDTH, 1), Pooled(1)]


PLAIN: dict[str, Callable[[], list[nn.Module]]] = {
    "linear": lambda: [nn.Linear(WIDTH, WIDTH)],
    "without a bias": lambda: [nn.Linear(WIDTH, WIDTH, bias=False)],
    "bilinear": lambda: [TwoInputs()],
    "embedding": lambda: [Indices(), nn.Embedding(9, WIDTH), Pooled(-1)],
    "bag": lambda: [Indices(), nn.EmbeddingBag(9, WIDTH, mode="max")],
    "conv1d": lambda: convolved(nn.Conv1d, 1),
    "conv2d": lambda: convolved(nn.Conv2d, 2),
    "conv3d": lambda: convolved(nn.Conv3d, 3),
    "transposed 1d": lambda: convolved(nn.ConvTranspose1d, 1),
    "transposed 2d": lambda: convolved(nn.ConvTranspose2d, 2),
    "transposed 3d": lambda: convolved(nn.ConvTranspose3d, 3),
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_layer_as_pytorch_has_it_takes_up_an_encoding(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*PLAIN[name](), nn.Tanh(), nn.Linear(WIDTH, 3))
    plain = model(inputs())
    copied, expected = merged(model)
    assert_near(copied(inputs()), expected, amplification=10)
    assert not torch.allclose(plain, expected)


class Gain(nn.Linear):
    def __init__(self, *widths: int) -> None:
        super().__init__(*widths)
        self.gain = nn.Parameter(torch.rand(self.out_features))

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * self.gain


class Residual(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return input + super().forward(input)


class Masked(nn.Linear):
    def __init__(self, *widths: int) -> None:
        super().__init__(*widths)
        self.register_buffer("mask", torch.rand(self.out_features).round())

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * self.mask


class Called(nn.Linear):
    def __call__(self, input: Tensor) -> Tensor:
        output: Tensor = super().__call__(input)
        return output.cumsum(-1)


class Normalized(nn.Module):
    """A matrix of its own, then a normalisation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.norm = nn.LayerNorm(outputs)
        nn.init.uniform_(self.norm.weight)

    def forward(self, input: Tensor) -> Tensor:
        output: Tensor = self.norm(functional.linear(input, self.weight))
        return output


class OwnConvolution(nn.Conv1d):
    def _conv_forward(self, *args: Any) -> Tensor:
        return super()._conv_forward(*args).cumsum(1)


def with_other_forward(layer: nn.Linear) -> nn.Linear:
    plain = layer.forward
    layer.forward = lambda input: plain(input).cumsum(-1)  # type: ignore[method-assign]
    return layer


def with_computed_bias(layer: nn.Linear) -> nn.Linear:
    return parametrizations.weight_norm(layer, "bias", dim=None)


def with_bias_for_a_buffer(layer: nn.Linear) -> nn.Linear:
    bias = layer.bias.detach()
    del layer.bias
    layer.register_buffer("bias", bias)
    return layer


def with_hook(layer: nn.Linear) -> nn.Linear:
    layer.register_forward_hook(lambda module, args, output: output.cumsum(-1))
    return layer


OTHERS: dict[str, Callable[[], nn.Module]] = {
    **{
        kind.__name__: lambda kind=kind: kind(WIDTH, WIDTH)
        for kind in (Gain, Residual, Masked, Called, Normalized)
    },
    **{
        change.__name__: lambda change=change: change(nn.Linear(WIDTH, WIDTH))
        for change in (
            *(with_other_forward, with_computed_bias),
            *(with_bias_for_a_buffer, with_hook),
        )
    },
    "pruned": lambda: prune.random_unstructured(nn.Linear(WIDTH, WIDTH), "bias", 0.5),
    "convolution of its own": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 8)), OwnConvolution(2, WIDTH, 1), Pooled(1)
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_a_layer_does_beside_its_product_is_not_taken_for_it(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(OTHERS[name](), nn.Tanh(), nn.Linear(WIDTH, 3))
    with pytest.raises(ValueError, match="no forward, parameter or buffer beside"):
        merged(model)


def test_a_hook_that_sees_what_is_encoded_stays() -> None:
    for at, register in itertools.product(
        ("input", "output"), ("register_forward_hook", "register_forward_pre_hook")
    ):
        model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 3))

        def changed(module: nn.Module, args: Any, output: Any = None) -> Tensor:
            return (args[0] if output is None else output).cumsum(-1)

        is_pre = register.endswith("pre_hook")
        getattr(model[0], register)(changed, prepend=True)
        options = {"encode": [Place("0", at)]}
        if at == "output" and not is_pre:
            with pytest.raises(ValueError, match="no hook before the encoding"):
                merged(model, **options)
        else:
            copied, expected = merged(model, **options)
            assert_near(copied(inputs()), expected, amplification=10)


def test_a_hook_after_an_input_was_permuted_is_refused() -> None:
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 3))
    rgo = RGO(model, sgd(model), encode=["0"])
    model[0].register_forward_pre_hook(lambda module, args: args[0].cumsum(-1))
    rgo.begin_task(0)
    with pytest.raises(ValueError, match="got others: 0"):
        rgo.merge_for(0)


def positions() -> list[nn.Module]:
    apart = nn.Unflatten(1, (WIDTH, 1))
    return [apart, nn.Linear(1, WIDTH), nn.Linear(WIDTH, WIDTH)]


@pytest.mark.parametrize(
    ("layers", "place"),
    [
        (positions(), Place("2", "output", Channels(WIDTH, -2))),
        (positions(), Place("2", "input", Channels(WIDTH, -2))),
        ([Indices(), nn.Embedding(WIDTH, 3)], Place("1", "input", Channels(WIDTH))),
    ],
)
def test_an_axis_that_is_not_the_weights_is_refused_though_it_is_as_long(
    layers: list[nn.Module], place: Place
) -> None:
    model = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(3))
    model(inputs())
    with pytest.raises(ValueError, match=f"got others: {place.name}"):
        merged(model, encode=[place])
