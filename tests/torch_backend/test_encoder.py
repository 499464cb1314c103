"""Each task sees the channels of a layer in its own order."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, grad, vmap
from torch_backend.nets import (
    assert_same,
    batch,
    compiled,
    conv_net,
    hooks_of,
    images,
    loss_of,
    mlp,
    plain_copy,
    sgd,
)

import rgo_core
from rgo_torch import RGO, FeatureEncoder, FeatureEncoding
from rgo_torch.fast.permuting import permute_channels

# Dynamo's own, which it hides from all but pytest.
pytestmark = [
    # PyTorch's own, at the first forward-mode derivative.
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is dep:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning"),
    pytest.mark.filterwarnings(
        "ignore:.*autograd.function.Function.* should not be:DeprecationWarning"
    ),
]


def permuted(features: Tensor, axis: int, name: str, task: int) -> Tensor:
    """Permute in NumPy, for the seed 7."""
    width = features.shape[axis]
    order = rgo_core.task_permutation(width, task=task, name=name, seed=7)
    return torch.from_numpy(np.take(features.detach().numpy(), order, axis=axis))


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


def explicit_net(*, compile_a_part: bool = False) -> nn.Sequential:
    """Return an MLP that says itself where to encode."""
    torch.manual_seed(0)
    hidden = nn.Sequential(nn.Linear(12, 8), FeatureEncoding(8))
    hidden = compiled(hidden) if compile_a_part else hidden
    return nn.Sequential(hidden, nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 4))


@pytest.mark.parametrize("compile_a_part", [False, True])
def test_explicit_modules_take_over_from_the_hooks(compile_a_part: bool) -> None:
    model, (x, _) = explicit_net(compile_a_part=compile_a_part), batch()
    plain = explicit_net()
    encoder = FeatureEncoder(model, seed=7)
    assert encoder.widths == {"0.1": 8}
    assert not list(hooks_of(model))
    encoder.set_task(2)
    expected = permuted(plain[0][0](x), -1, "0.1", 2)
    assert torch.equal(model(x), plain[1:](expected))
    encoder.detach()
    assert torch.equal(model(x), plain(x))


def test_an_explicit_module_moves_with_its_model() -> None:
    module = FeatureEncoding(8).to("meta")
    assert module.permutation.device.type == "meta"
    assert repr(FeatureEncoding(8, axis=-3)) == "FeatureEncoding(8, axis=-3)"


@pytest.mark.parametrize("task", [0, 1])
def test_another_number_of_channels_is_refused_in_every_task(task: int) -> None:
    model = nn.Sequential(nn.Linear(3, 4), FeatureEncoding(5), nn.Linear(4, 2))
    FeatureEncoder(model).set_task(task)
    message = r"expected 5 channels along axis -1, got shape \(2, 4\)"
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(2, 3))


def test_a_copy_of_the_model_follows_the_encoder() -> None:
    model, (x, _) = mlp(), batch()
    encoder = FeatureEncoder(model, seed=7)
    encoder.set_task(1)
    copied = copy.deepcopy(model)
    assert torch.equal(copied(x), model(x))
    encoder.set_task(2)
    assert torch.equal(copied(x), model(x))
    assert not torch.equal(copied(x), plain_copy(model)(x))


def test_detaching_leaves_a_plain_model() -> None:
    model, (x, _) = mlp(), batch()
    encoder = FeatureEncoder(model)
    encoder.set_task(1)
    assert not torch.equal(model(x), mlp()(x))
    encoder.detach()
    assert torch.equal(model(x), mlp()(x))
    assert not list(hooks_of(model))


class Count:
    """A compiler that runs the graphs as they are, and counts them."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
        self.graphs += 1
        return graph.forward


@pytest.mark.parametrize("explicit", [False, True])
def test_a_compiled_model_follows_four_tasks_in_two_compilations(
    explicit: bool,
) -> None:
    torch.compiler.reset()
    net = explicit_net if explicit else mlp
    model, plain, count = net(), net(), Count()
    fast = torch.compile(model, backend=count, fullgraph=True)
    encoder, reference = FeatureEncoder(fast, seed=7), FeatureEncoder(plain, seed=7)
    for task in (0, 1, 2, 3, 0, 2):
        encoder.set_task(task)
        reference.set_task(task)
        for seed in range(2):
            x, y = batch(seed=seed)
            assert torch.equal(fast(x), plain(x))
            for candidate in (fast, plain):
                candidate.zero_grad()
                loss_of(candidate, x, y).backward()
            for p, q in zip(model.parameters(), plain.parameters(), strict=True):
                assert torch.equal(p.grad, q.grad)
    assert count.graphs == 2  # the identity, and any permutation


@pytest.mark.parametrize("how", ["whole", "in place", "a part"])
def test_a_model_compiled_before_is_encoded_too(how: str) -> None:
    model, plain, (x, _) = mlp(), mlp(), batch()
    fast: nn.Module = model
    if how == "whole":
        fast = compiled(model)
    elif how == "in place":
        model.compile(backend="eager")
    else:
        model[2] = compiled(model[2])
    fast(x)
    FeatureEncoder(fast, seed=7).set_task(1)
    FeatureEncoder(plain, seed=7).set_task(1)
    assert torch.equal(fast(x), plain(x))


def test_names_that_are_no_layers_are_refused() -> None:
    model = mlp()
    message = (
        r"unencoded must name modules among \['0', '2', '4'\], got \['1', 'head'\]"
    )
    with pytest.raises(ValueError, match=message):
        FeatureEncoder(model, unencoded=["head", "1", "0"])
    with pytest.raises(ValueError, match="names in a list, got the string '0'"):
        FeatureEncoder(model, unencoded="0")
    assert not list(hooks_of(model))


@pytest.mark.parametrize("value", [-1, 0.5, "1", None])
def test_tasks_and_seeds_that_count_nothing_are_refused(value: object) -> None:
    with pytest.raises(
        ValueError, match=f"seed must be an integer >= 0, got {value!r}"
    ):
        FeatureEncoder(mlp(), seed=value)
    encoder = FeatureEncoder(mlp())
    encoder.set_task(1)
    message = f"task must be an integer >= 0, got {value!r}"
    with pytest.raises(ValueError, match=message):
        encoder.set_task(value)
    with pytest.raises(ValueError, match=message), encoder.task(value):
        pass
    assert encoder.task_index == 1


@pytest.mark.parametrize("attach", [FeatureEncoder, lambda m, **o: RGO(m, sgd(m), **o)])
def test_the_old_name_of_unencoded_still_works_with_a_warning(attach: Any) -> None:
    model = mlp()
    with pytest.warns(DeprecationWarning, match="exclude= is now unencoded"):
        attached = attach(model, exclude=["0"])
    encoder = getattr(attached, "encoder", attached)
    assert list(encoder.widths) == ["2", "4"]
    with pytest.raises(TypeError, match="exclude is the old name of unencoded: give"):
        attach(mlp(), exclude=["0"], unencoded=["0"])
