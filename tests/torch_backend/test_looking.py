"""Contexts that look back at a task: in any order, and between any two calls."""

import copy
import gc
import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_backend.nets import FEATURES, batches, compiled, mlp, sgd, train
from torch_backend.normalised import Normalised, data, learned, running

from rgo_torch import RGO, FeatureEncoder, FeatureEncoding


def in_task(rgo: RGO, task: int) -> Iterator[int]:
    with rgo.task(task):
        yield task
        yield task


def index_of(rgo: RGO) -> int:
    assert rgo.encoder is not None
    return rgo.encoder.task_index


def test_contexts_may_close_in_any_order() -> None:
    rgo, model = learned("per-task", tasks=2)
    rgo.begin_task(2)
    train(model, sgd(model), data(2))
    before = running(model)
    first, second = in_task(rgo, 0), in_task(rgo, 1)
    next(first), next(second)
    assert index_of(rgo) == 1
    first.close()  # the other one goes on
    assert index_of(rgo) == 1
    assert torch.equal(running(model)[0], rgo.statistics.kept[1]["norm"].mean)
    second.close()
    assert index_of(rgo) == 2
    for now, then in zip(running(model), before, strict=True):
        assert torch.equal(now, then)


def test_from_within_another_task_the_trained_one_has_its_own_statistics() -> None:
    rgo, model = learned("per-task", tasks=1)
    rgo.begin_task(1)
    train(model, sgd(model), data(1))
    own, _ = running(model)
    with rgo.task(0):
        assert not torch.equal(running(model)[0], own)
        with rgo.task(1):
            assert torch.equal(running(model)[0], own)


@pytest.mark.parametrize("what", ["end_task", "consolidate", "load_state_dict"])
def test_a_context_that_is_still_open_is_told(what: str) -> None:
    rgo, _ = learned("per-task", tasks=1)
    rgo.begin_task(1)
    asked = rgo.state_dict() if what == "load_state_dict" else data(1)
    left_open = in_task(rgo, 0)
    next(left_open)
    if what == "consolidate":
        asked = rgo.observe(data(1))  # in the encoding of the task that is trained
    with pytest.raises(RuntimeError, match=rf"{what} must not be called inside of"):
        getattr(rgo, what)(asked)
    left_open.close()
    getattr(rgo, what)(asked)


def test_between_a_forward_pass_and_its_backward_pass_another_task_may_be_seen() -> (
    None
):
    rgo, model = learned("per-task", tasks=1)
    twin = copy.deepcopy(model)
    RGO(twin, sgd(twin)).load_state_dict(rgo.state_dict())
    gradients = []
    for each, looks in ((model, True), (twin, False)):
        x, y = data(1)[0]
        loss = functional.cross_entropy(each(x), y)
        if looks:
            with rgo.task(0):
                model(x)
        loss.backward()
        gradients.append([p.grad for p in each.parameters()])
    for found, expected in zip(*gradients, strict=True):
        assert torch.equal(found, expected)


# PyTorch 2.6 tells so of what a hook holds.
@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr:UserWarning")
@pytest.mark.filterwarnings("ignore:Node .* target .*:UserWarning")
def test_an_exported_program_keeps_the_task_that_it_was_made_in() -> None:
    model = mlp().eval()
    encoder = FeatureEncoder(model)
    x = torch.randn(4, FEATURES)
    with encoder.task(1), torch.no_grad():
        expected = model(x)
        program = torch.export.export(model, (x,), strict=False).module()
    encoder.set_task(2)
    with torch.no_grad():
        assert torch.equal(program(x), expected)
        assert not torch.allclose(model(x), expected)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiled_code_sees_the_task_of_the_moment() -> None:
    model = mlp()
    fast, encoder = compiled(model), FeatureEncoder(model)
    x, seen = torch.randn(4, FEATURES), set()
    with torch.no_grad():
        for task in range(4):
            encoder.set_task(task)
            assert torch.allclose(fast(x), model(x), atol=1e-6)
            seen.add(tuple(model(x).flatten().tolist()))
    assert len(seen) == 4


def test_what_detaches_within_a_context_leaves_the_identity() -> None:
    model = nn.Sequential(nn.Linear(3, 5), FeatureEncoding(5), nn.Linear(5, 2))
    rgo = RGO(model, sgd(model))
    for task in range(2):
        rgo.begin_task(task)
        rgo.end_task([(torch.randn(4, 3), torch.arange(4) % 2)])
    with rgo.task(1):
        rgo.detach()
    assert torch.equal(model[1](torch.arange(5.0)), torch.arange(5.0))


def test_a_copy_keeps_the_encoding_when_the_model_is_detached() -> None:
    model = mlp()
    rgo = RGO(model, sgd(model))
    for task in range(2):
        rgo.begin_task(task)
        rgo.end_task(batches())
    teacher, x = copy.deepcopy(model), torch.randn(4, FEATURES)
    expected: Tensor = model(x)
    rgo.detach()
    assert torch.equal(teacher(x), expected)
    assert not torch.allclose(model(x), expected)


def test_statistics_move_again_where_a_state_of_before_they_froze_is_loaded() -> None:
    model = Normalised()
    rgo = RGO(model, sgd(model), statistics="frozen")
    rgo.begin_task(0)
    state = copy.deepcopy(rgo.state_dict())
    rgo.end_task(data(0))
    rgo.begin_task(1)
    rgo.load_state_dict(state)
    before = running(model)
    train(model, sgd(model), data(0))
    assert not torch.equal(running(model)[0], before[0])


def test_a_detached_one_observes_and_loads_nothing() -> None:
    model = mlp()
    rgo = RGO(model, sgd(model), encode=False)
    rgo.begin_task(0)
    state = rgo.state_dict()
    rgo.detach()
    for act in (
        lambda: rgo.end_task(batches()),
        lambda: rgo.load_state_dict(state),
    ):
        with pytest.raises(RuntimeError, match="this RGO was detached"):
            act()
    assert rgo.finished == 0


def test_what_looks_back_is_gone_with_its_last_reference() -> None:
    gc.disable()
    try:
        model = Normalised()
        rgo = RGO(model, sgd(model))
        gone = [weakref.ref(each) for each in (rgo.encoder, rgo.statistics)]
        del rgo, model
        assert [each() for each in gone] == [None, None]
    finally:
        gc.enable()


def test_statistics_put_in_place_without_gradients_serve_training() -> None:
    rgo, model = learned("per-task", tasks=2)
    rgo.begin_task(2)
    left_open = in_task(rgo, 0)
    with torch.inference_mode():
        next(left_open)
    train(model, sgd(model), data(0))
    left_open.close()
