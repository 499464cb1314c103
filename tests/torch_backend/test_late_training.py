"""A task that is trained before it was begun has the features of the one before."""

from typing import Any

import pytest
import torch
from torch import nn
from torch_backend.nets import batches, mlp, sgd, train

from rgo_torch import RGO

LATE = r"trained after task 0 had ended and before begin_task\(1\)"


def adam(model: nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam(model.parameters(), 1e-2)


def ended(make: Any, **options: Any) -> tuple[nn.Module, Any, RGO]:
    """Return a model that has learned a task."""
    model = mlp()
    optimizer = make(model)
    train(model, optimizer, batches())  # before the first task all are in one order
    rgo = RGO(model, optimizer, seed=0, **options)
    train(model, optimizer, batches())
    rgo.begin_task(0)
    train(model, optimizer, batches())
    rgo.end_task(batches())
    return model, optimizer, rgo


@pytest.mark.parametrize("make", [sgd, adam])
def test_a_task_that_is_begun_after_its_training_is_warned_of(make: Any) -> None:
    model, optimizer, rgo = ended(make)
    train(model, optimizer, batches(seed=1))
    with pytest.raises(RuntimeError, match="before its training: where features are"):
        rgo.end_task(batches(seed=1))
    with pytest.warns(UserWarning, match=LATE):
        rgo.begin_task(1)
    train(model, optimizer, batches(seed=1))
    rgo.begin_task(1)  # again
    train(model, optimizer, batches(seed=1))
    rgo.end_task(batches(seed=1))
    rgo.begin_task(2)


@pytest.mark.parametrize("make", [sgd, adam])
def test_another_optimizer_of_the_model_is_seen_and_one_of_another_is_not(
    make: Any,
) -> None:
    model, _, rgo = ended(make)
    other = mlp()
    train(other, sgd(other), batches())
    rgo.begin_task(1)
    rgo.end_task(batches())
    train(model, sgd(model), batches())
    with pytest.warns(UserWarning, match=r"trained after task 1 had ended"):
        rgo.begin_task(2)


def test_without_encoding_it_makes_no_difference() -> None:
    model, optimizer, rgo = ended(sgd, encode=False)
    train(model, optimizer, batches(seed=1))
    rgo.begin_task(1)


def test_weights_that_are_loaded_in_between_are_no_training() -> None:
    model, _, rgo = ended(adam)
    model.load_state_dict({k: v * 1.01 for k, v in model.state_dict().items()})
    rgo.begin_task(1)
