"""Each task sees the channels of a layer in its own order."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, grad, vmap
from torch_backend.encoded import permuted
from torch_backend.nets import (
    assert_same,
    batch,
    conv_net,
    hooks_of,
    images,
    loss_of,
    mlp,
)

import rgo_core
from rgo_torch import FeatureEncoder, FeatureEncoding
from rgo_torch.encoding.permuting import permute_channels

pytestmark = [
    # PyTorch's own, at the first forward-mode derivative.
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is dep:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning"),
    pytest.mark.filterwarnings(
        "ignore:.*autograd.function.Function.* should not be:DeprecationWarning"
    ),
]


@pytest.mark.parametrize("task", [0, 1, 5])
def test_the_outputs_of_every_linear_layer_but_the_last_are_permuted(task: int) -> None:
    model, plain, (x, _) = mlp(), mlp(), batch()
    encoder = FeatureEncoder(model, seed=7)
    encoder.set_task(task)
    expected = torch.relu(permuted(plain[0](x), -1, "0", task))
    expected = torch.relu(permuted(plain[2](expected), -1, "2", task))
    assert torch.equal(model(x), plain[4](expected))
    assert torch.equal(model(x), plain(x)) == (task == 0)
    assert encoder.widths == {"0": 8, "2": 8}


@pytest.mark.parametrize("batched", [True, False])
def test_the_channels_of_convolutions_are_permuted(batched: bool) -> None:
    model, plain = conv_net(), conv_net()
    x = images()[0] if batched else images()[0][0]
    FeatureEncoder(model, seed=7, unencoded=["5"]).set_task(2)
    expected = permuted(plain[0](x), -3, "0", 2)
    assert torch.equal(model[:1](x), expected)
    expected = permuted(plain[2](torch.relu(expected)), -3, "2", 2)
    assert torch.equal(model[:3](x), expected)


def test_named_layers_are_excluded_and_then_the_last_is_not() -> None:
    model, plain, (x, _) = mlp(), mlp(), batch()
    encoder = FeatureEncoder(model, seed=7, unencoded=["2"])
    encoder.set_task(1)
    expected = torch.relu(plain[2](torch.relu(permuted(plain[0](x), -1, "0", 1))))
    assert torch.equal(model(x), permuted(plain[4](expected), -1, "4", 1))
    assert FeatureEncoder(mlp(), unencoded=[]).widths == {"0": 8, "2": 8, "4": 4}


@pytest.mark.parametrize("nested", [False, True])
def test_what_is_flattened_after_convolutions_is_permuted_too(nested: bool) -> None:
    model, plain, (x, _) = conv_net(), conv_net(), images()
    whole = nn.Sequential(model) if nested else model
    prefix = "0." if nested else ""
    encoder = FeatureEncoder(whole, seed=7)
    encoder.set_task(3)
    assert encoder.widths == {f"{prefix}0": 6, f"{prefix}2": 24, f"{prefix}4": 96}
    expected = torch.relu(permuted(plain[0](x), -3, f"{prefix}0", 3))
    expected = torch.relu(permuted(plain[2](expected), -3, f"{prefix}2", 3))
    expected = permuted(expected.flatten(1), -1, f"{prefix}4", 3)
    assert torch.equal(whole(x), plain[5](expected))
    names = [f"{prefix}{name}" for name in ("4", "5")]
    encoder.detach()
    assert set(FeatureEncoder(whole, unencoded=names).widths) == {
        f"{prefix}0",
        f"{prefix}2",
    }


def test_flattened_inputs_that_no_convolution_made_are_left() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.PReLU())
    assert FeatureEncoder(model, unencoded=[]).widths == {"1": 4}


class Residual(nn.Module):
    """A residual block: two convolutions and a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.shortcut = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x))) + self.shortcut(x)


def test_a_shortcut_that_is_excluded_stays_in_order() -> None:
    model, plain, x = Residual(), Residual(), images()[0]
    FeatureEncoder(model, seed=7, unencoded=["shortcut"]).set_task(3)
    hidden = torch.relu(permuted(plain.first(x), -3, "first", 3))
    expected = permuted(plain.second(hidden), -3, "second", 3) + plain.shortcut(x)
    assert torch.equal(model(x), expected)


def test_the_gradient_of_the_permutation_is_its_inverse() -> None:
    x = torch.randn(2, 5, 7, dtype=torch.float64, requires_grad=True)
    for axis in (-1, -2, 1):
        width = x.shape[axis]
        order = torch.from_numpy(rgo_core.task_permutation(width, task=4, name="x"))
        inverse = torch.argsort(order)
        arguments = (x, order, inverse, axis)
        assert not torch.equal(order, inverse)
        assert gradcheck(permute_channels, arguments, check_forward_ad=True)
        assert gradgradcheck(permute_channels, arguments)


def test_torch_func_sees_through_the_permutation() -> None:
    model, (x, y) = mlp().double(), batch(5)
    FeatureEncoder(model, seed=7).set_task(1)
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def loss(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        def call(x: Tensor) -> Tensor:
            return functional_call(model, weights, (x,))

        return loss_of(call, x[None], y[None])

    each = vmap(grad(loss), (None, 0, 0))(weights, x.double(), y)["0.weight"]
    for i in range(5):
        model.zero_grad()
        loss_of(model, x[i : i + 1].double(), y[i : i + 1]).backward()
        torch.testing.assert_close(each[i], model[0].weight.grad)


def test_the_state_dict_and_the_parameters_stay_as_they_are() -> None:
    model, plain = mlp(), mlp()
    FeatureEncoder(model).set_task(3)
    assert_same(dict(model.state_dict()), dict(plain.state_dict()))
    model.load_state_dict(plain.state_dict())
    explicit = nn.Sequential(nn.Linear(3, 4), FeatureEncoding(4))
    assert list(explicit.state_dict()) == ["0.weight", "0.bias"]


def test_encodings_of_one_name_and_width_share_a_permutation() -> None:
    kinds = [FeatureEncoding(w, name="one") for w in (5, 5, 6)] + [FeatureEncoding(5)]
    encoder = FeatureEncoder(nn.Sequential(*kinds), seed=7)
    encoder.set_task(1)
    first, second, wider, other = encoder.encodings.values()
    assert list(encoder.encodings) == ["0", "1", "2", "3"]
    drawn = rgo_core.task_permutation(5, task=1, name="one", seed=7)
    assert torch.equal(first.permutation, torch.from_numpy(drawn))
    assert torch.equal(first.permutation, second.permutation)
    assert not torch.equal(first.permutation, other.permutation)
    assert sorted(wider.permutation.tolist()) == list(range(6))


def test_the_encodings_of_hooks_can_be_given_a_name_too() -> None:
    encoder = FeatureEncoder(mlp(), seed=7)
    for encoding in encoder.encodings.values():
        encoding.name = "one"
    encoder.set_task(1)
    first, second = encoder.encodings.values()
    assert torch.equal(first.permutation, second.permutation)


def test_exclude_is_refused_where_the_model_says_itself_where_to_encode() -> None:
    model = nn.Sequential(nn.Linear(3, 4), FeatureEncoding(4), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"unencoded must be None .* modules \['1'\]"):
        FeatureEncoder(model, unencoded=["0"])
    assert not list(hooks_of(model))


def test_a_context_encodes_for_another_task_and_comes_back() -> None:
    model, (x, _) = mlp(), batch()
    encoder = FeatureEncoder(model, seed=7)
    logits = []
    for task in range(3):
        encoder.set_task(task)
        logits.append(model(x))
    with encoder.task(0):
        assert torch.equal(model(x), logits[0])
        with encoder.task(np.int64(1)):
            assert torch.equal(model(x), logits[1])
        assert encoder.task_index == 0
    assert torch.equal(model(x), logits[2])
    with pytest.raises(KeyError), encoder.task(0):
        raise KeyError
    assert torch.equal(model(x), logits[2])


def test_the_two_tasks_met_last_are_not_drawn_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = []
    draw = rgo_core.task_permutation

    def noted(width: int, *, task: int, name: str, seed: int) -> Any:
        drawn.append(task)
        return draw(width, task=task, name=name, seed=seed)

    monkeypatch.setattr(rgo_core, "task_permutation", noted)
    model = nn.Sequential(nn.Linear(9, 9), nn.Linear(9, 2))
    encoder = FeatureEncoder(model, seed=7)
    first: dict[int, Tensor] = {}
    for task in (1, 2, 1, 2, 3, 2, 1):
        encoder.set_task(task)
        (encoding,) = encoder._encodings.values()
        first.setdefault(task, encoding.permutation.clone())
        assert torch.equal(encoding.permutation, first[task])
        assert torch.equal(encoding._kept[0], first[task])
        assert len(encoding._drawn) <= 2
    assert [task for task in drawn if task] == [1, 2, 3, 1]
    for key in ({"name": "0", "seed": 8}, {"name": "other", "seed": 7}):
        encoding.set_permutation(1, **key)
        assert not torch.equal(encoding.permutation, first[1])


def test_permutations_depend_on_seed_task_and_name() -> None:
    def logits(seed: int, task: int) -> Tensor:
        model = mlp()
        FeatureEncoder(model, seed=seed).set_task(task)
        return model(batch()[0])

    assert torch.equal(logits(0, 1), logits(0, 1))
    assert not torch.equal(logits(0, 1), logits(1, 1))
    assert not torch.equal(logits(0, 1), logits(0, 2))
    layers = nn.Sequential(nn.Linear(9, 9), nn.Linear(9, 9), nn.Linear(9, 1))
    encodings = FeatureEncoder(layers)._encodings
    for encoding, name in zip(encodings.values(), encodings, strict=True):
        encoding.set_permutation(1, name=name, seed=0)
    assert not torch.equal(encodings["0"].permutation, encodings["1"].permutation)
