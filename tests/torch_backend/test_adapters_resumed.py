"""A task with adapters that broke off goes on to the numbers of one that did not."""

import copy
from typing import Any

import pytest
from torch import nn
from torch.nn import functional

pytest.importorskip("peft")
pytest.importorskip("transformers")
from torch_backend.adapted import attached
from torch_backend.nets import assert_same
from torch_backend.small_adapters import Logits, adapted, batch

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def steps(model: nn.Module, optimizer: Any, seeds: range) -> None:
    for seed in seeds:
        words, topics = batch(seed)
        optimizer.zero_grad()
        functional.cross_entropy(model(words), topics).backward()
        optimizer.step()


def test_what_the_optimizer_estimates_goes_on_in_a_task_that_is_begun_again() -> None:
    model = Logits(adapted())
    rgo, optimizer = attached(model)
    rgo.begin_task(0)
    steps(model, optimizer, range(3))
    rgo.end_task([batch(0)])
    rgo.begin_task(1)
    assert not optimizer.state  # an entry is of other features now
    steps(model, optimizer, range(3, 5))
    parts = (model, optimizer, rgo)
    saved = copy.deepcopy([part.state_dict() for part in parts])
    steps(model, optimizer, range(5, 7))

    other = Logits(adapted())
    again, follower = attached(other)
    for part, state in zip((other, follower, again), saved, strict=True):
        part.load_state_dict(state)
    again.begin_task(1)
    steps(other, follower, range(5, 7))
    assert_same(dict(other.state_dict()), dict(model.state_dict()))
    again.end_task([batch(1)])
    again.begin_task(2)
    assert not follower.state
