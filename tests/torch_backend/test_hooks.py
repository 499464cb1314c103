"""Copies of an attached model: what they do, and that they may be attached anew."""

import copy
import io
import pickle
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch_backend.nets import (
    FEATURES,
    assert_same,
    batch,
    batches,
    gradients_of,
    hooks_of,
    loss_of,
    mlp,
    sgd,
)

from rgo_torch import RGO, FeatureEncoder, GradientProjector
from rgo_torch.modules.hooks import ModuleHook


def saved(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    loaded: nn.Module = torch.load(file, weights_only=False)
    return loaded


def pickled(model: nn.Module) -> nn.Module:
    loaded: nn.Module = pickle.loads(pickle.dumps(model))
    return loaded


WAYS = [copy.deepcopy, saved, pickled]


def normalized() -> nn.Sequential:
    """Return a network with all that hooks are on: layers and normalisations."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4)
    )


def after_two_tasks(model: nn.Module, **options: object) -> RGO:
    rgo = RGO(model, sgd(model), **options)
    for task in range(2):
        rgo.begin_task(task)
        rgo.end_task(batches(seed=task))
    return rgo


def own_hooks(model: nn.Module) -> Iterator[ModuleHook]:
    return (hook for hook in hooks_of(model) if isinstance(hook, ModuleHook))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("make", [mlp, normalized])
def test_a_copy_is_encoded_as_its_model_is(
    way: Callable[[nn.Module], nn.Module], make: Callable[[], nn.Module]
) -> None:
    model = make()
    rgo = after_two_tasks(model, statistics="frozen")
    twin, (x, _) = way(model), batch()
    assert rgo.encoder.task_index == 1
    assert torch.equal(twin(x), model(x))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("statistics", ["per-task", "frozen"])
def test_a_copy_is_attached_anew_and_goes_on(
    way: Callable[[nn.Module], nn.Module], statistics: str
) -> None:
    model = normalized()
    rgo = after_two_tasks(model, seed=3, statistics=statistics)
    twin = way(model)
    other = RGO(twin, sgd(twin), seed=3, statistics=statistics)
    other.load_state_dict(rgo.state_dict())
    (x, y), found = batch(), []
    for net, learned in ((model, rgo), (twin, other)):
        with learned.task(0):
            found.append(net(x))
        learned.begin_task(2)
        found.append(gradients_of(net, lambda net=net: loss_of(net, x, y)))
    assert_same(found[:2], found[2:])
    assert not any(hook.copied for hook in own_hooks(twin))
    assert len(list(own_hooks(twin))) == len(list(own_hooks(model)))
    with rgo.task(1), other.task(0):
        assert not torch.equal(model(x), twin(x))


def test_an_average_of_the_weights_is_encoded_as_its_model_is() -> None:
    model, (x, _) = mlp(), batch()
    rgo = after_two_tasks(model)
    average = torch.optim.swa_utils.AveragedModel(model)
    average.update_parameters(model)
    for task in range(2):
        with rgo.task(task):
            assert torch.equal(average(x), model(x))


def test_the_hooks_of_others_come_along_in_a_copy_and_stay() -> None:
    model = mlp()
    seen: list[Tensor] = []
    model[0].register_forward_hook(lambda module, args, output: seen.append(output))
    after_two_tasks(model)
    twin = copy.deepcopy(model)
    RGO(twin, sgd(twin))
    seen.clear()
    twin(batch()[0])
    assert len(seen) == 1


@pytest.mark.parametrize("encode", [True, False])
def test_a_second_rgo_on_a_model_is_refused_and_changes_nothing(encode: bool) -> None:
    model, (x, _) = mlp(), batch()
    optimizer = sgd(model)
    rgo = RGO(model, optimizer, encode=encode)
    hooks, before = list(hooks_of(model)), model(x)
    message = r"0(.weight)?: expected a model that nothing of rgo_torch is attached to"
    with pytest.raises(ValueError, match=message):
        RGO(model, optimizer, encode=encode)
    assert list(hooks_of(model)) == hooks
    assert torch.equal(model(x), before)
    rgo.detach()
    RGO(model, optimizer, encode=encode)


def test_a_second_encoder_on_a_model_is_refused() -> None:
    model = mlp()
    FeatureEncoder(model)
    with pytest.raises(ValueError, match="0: expected a model that nothing of"):
        FeatureEncoder(model)


@pytest.mark.parametrize("way", [copy.deepcopy, pickle.dumps])
def test_what_is_attached_is_neither_copied_nor_pickled(way: Callable) -> None:
    model = mlp()
    optimizer = sgd(model)
    for attached in (
        RGO(model, optimizer),
        FeatureEncoder(mlp()),
        GradientProjector(other := mlp(), sgd(other)),
    ):
        message = f"an? {type(attached).__name__} cannot be copied or pickled: its"
        with pytest.raises(TypeError, match=message):
            way(attached)
