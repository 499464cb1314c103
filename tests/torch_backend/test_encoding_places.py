"""Encodings that a model names itself, copies, compiles and refuses."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_backend.encoded import permuted
from torch_backend.nets import (
    Count,
    batch,
    compiled,
    hooks_of,
    loss_of,
    mlp,
    plain_copy,
    sgd,
)

from rgo_torch import RGO, FeatureEncoder, FeatureEncoding

pytestmark = [
    # PyTorch's own, at the first forward-mode derivative.
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is dep:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning"),
    pytest.mark.filterwarnings(
        "ignore:.*autograd.function.Function.* should not be:DeprecationWarning"
    ),
]


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


class Grouped(nn.Linear):
    """A forward of its own, whose channels are along two axes."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.view(2, -1, self.in_features)
        return torch.einsum("bgn,gmn->bgm", x, weight)


def test_what_a_forward_of_its_own_shapes_otherwise_is_told_what_to_do() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(12, 8),
        nn.Unflatten(1, (2, 4)),
        Grouped(4, 6, bias=False),
        nn.Flatten(),
        nn.Linear(6, 4),
    )
    rgo = RGO(model, sgd(model), seed=0)
    rgo.begin_task(0)
    with pytest.raises(ValueError, match=r"got shape .*; a layer that gives out anot"):
        model(batch(3)[0])
    rgo.detach()
    rgo = RGO(model, sgd(model), seed=0, unencoded=["2", "4"])
    rgo.begin_task(0)
    rgo.end_task([batch(3)])
