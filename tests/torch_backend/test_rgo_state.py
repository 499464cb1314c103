"""A run of RGO that goes on from its state."""

import copy
import io
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch_backend.learning import learn, learner
from torch_backend.nets import (
    assert_same,
    batch,
    batches,
    sgd,
    train,
    weights_of,
)

from rgo_torch import RGO


def through_a_file(state: dict) -> dict:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("encode", [True, False])
@pytest.mark.parametrize("stop", ["before", "between", "within"])
def test_a_run_goes_on_from_its_saved_state_to_the_bit(stop: str, encode: bool) -> None:
    model, rgo = learner(encode=encode)
    if stop != "before":
        learn(model, rgo, 0)
        learn(model, rgo, 1)
    if stop == "within":
        rgo.begin_task(2)
        train(model, rgo.optimizer, batches(2, seed=7))
    state = through_a_file({"model": model.state_dict(), "rgo": rgo.state_dict()})
    other, resumed = learner(seed=9, encode=encode)
    other.load_state_dict(state["model"])
    resumed.load_state_dict(state["rgo"])
    assert torch.equal(other(batch()[0]), model(batch()[0]))
    for candidate, owner in ((model, rgo), (other, resumed)):
        if stop == "within":
            train(candidate, owner.optimizer, batches(2, seed=8))
            owner.end_task(batches())
        learn(candidate, owner, owner.state_dict()["finished"])
    assert_same(weights_of(other), weights_of(model))
    assert_same(resumed.state_dict(), rgo.state_dict())


def edited(**changes: object) -> Callable[[dict], dict]:
    return lambda state: state | changes


def lacking(key: str) -> Callable[[dict], dict]:
    return lambda state: {k: v for k, v in state.items() if k != key}


def with_entry(name: str) -> Callable[[dict], dict]:
    return lambda state: state | {"parameters": state["parameters"] | {name: {}}}


BAD_STATES = {
    r"not a state of RGO: it lacks \['parameters'\]": lacking("parameters"),
    r"not a state of RGO: it lacks \['finished'\]": lacking("finished"),
    "expected a state of version 1 or 2, got 3": edited(version=3),
    "the state's encoding is not this one's: .* got None": edited(encoding=None),
    "the state's encoding is not this one's: expected {'seed': 0": edited(
        encoding={"seed": 1, "widths": {"0": 8, "2": 8}}
    ),
    "expected a count of finished tasks .* got -1 and None": edited(finished=-1),
    "expected a count of finished tasks .* got 1 and 0": edited(current=0),
    "expected a count of finished tasks .* got '1'": edited(finished="1"),
    "the state is of another network: it has 'x'": with_entry("x"),
    "0.weight: expected a state with the tensors": with_entry("0.weight"),
    r"the state lacks the parameters \['0.weight', .* name these in grown=": edited(
        parameters={}
    ),
    "the state was made with per='batch' .here 'sample'., damping=3.0 .here": (
        lambda state: (
            state | {"options": state["options"] | {"per": "batch", "damping": 3.0}}
        )
    ),
    "not a state of RGO: got a list": list,
    "not a state of RGO: expected parameters by name, got a NoneType": edited(
        parameters=None
    ),
    "not a state of RGO: expected options by name, got a str": edited(options="x"),
}


@pytest.mark.parametrize("message", BAD_STATES)
def test_a_state_that_does_not_fit_is_refused_and_nothing_changes(message: str) -> None:
    model, rgo = learner()
    learn(model, rgo, 0)
    before, logits = copy.deepcopy(rgo.state_dict()), model(batch()[0])
    with pytest.raises(ValueError, match=message):
        rgo.load_state_dict(BAD_STATES[message](rgo.state_dict()))
    assert_same(rgo.state_dict(), before)
    assert torch.equal(model(batch()[0]), logits)


def test_a_state_that_was_rounded_is_refused_and_nothing_changes() -> None:
    model, rgo = learner()
    learn(model, rgo, 0)
    before = copy.deepcopy(rgo.state_dict())
    halved = {
        name: {
            key: part.half() if part.is_floating_point() else part
            for key, part in entry.items()
        }
        for name, entry in before["parameters"].items()
    }
    message = "0.weight: expected a matrix in float64, got torch.float16"
    with pytest.raises(TypeError, match=message):
        rgo.load_state_dict(before | {"parameters": halved})
    assert_same(rgo.state_dict(), before)


def test_a_state_of_another_network_is_refused() -> None:
    model, rgo = learner(encode=False)
    learn(model, rgo, 0)
    other = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8))
    fresh = RGO(other, sgd(other), encode=False)
    before = fresh.state_dict()
    with pytest.raises(ValueError, match=r"0.weight: expected a matrix of shape"):
        fresh.load_state_dict(rgo.state_dict())
    assert_same(fresh.state_dict(), before)
