import re
from typing import Any

import numpy as np
import pytest
from bench.small_images import small_images

from rgo_bench.streams import Stream
from rgo_bench.streams.options import StreamOptions
from rgo_bench.streams.permuted import permuted_stream


def make(seed: Any = 0, tasks: int = 3) -> Stream:
    options = StreamOptions(tasks=tasks, samples=20, batch=5, epochs=2, lr=0.25)
    return permuted_stream("small", small_images(), options, seed)


def test_a_stream_states_its_options_and_sizes() -> None:
    stream = make(seed=7)
    assert (stream.name, stream.seed) == ("small", 7)
    assert (stream.tasks, stream.samples, stream.batch) == (3, 20, 5)
    assert (stream.epochs, stream.lr) == (2, 0.25)
    assert (stream.input_shape, stream.classes) == ((36,), 10)
    assert stream.settings.as_dict() == {
        "tasks": 3,
        "samples": 20,
        "batch": 5,
        "epochs": 2,
        "lr": 0.25,
        "order": None,
    }


def test_training_samples_are_fresh_and_equal_at_every_call() -> None:
    stream = make()
    first, second = stream.train(1), stream.train(1)
    np.testing.assert_array_equal(first.x, second.x)
    np.testing.assert_array_equal(first.y, second.y)
    assert not np.shares_memory(first.x, second.x)


def test_a_task_does_not_depend_on_the_tasks_asked_for_before() -> None:
    used, fresh = make(), make()
    for index in (0, 1):
        used.train(index)
        used.test(index)
    np.testing.assert_array_equal(used.train(2).x, fresh.train(2).x)
    np.testing.assert_array_equal(used.test(2).x, fresh.test(2).x)


def test_a_shorter_stream_is_the_beginning_of_a_longer_one() -> None:
    np.testing.assert_array_equal(make(tasks=2).train(1).x, make(tasks=9).train(1).x)


@pytest.mark.parametrize("index", [-1, 3])
@pytest.mark.parametrize("ask", ["train", "test", "mask"])
def test_a_task_that_does_not_exist_is_refused(ask: str, index: int) -> None:
    message = f"small: expected a task from 0 to 2, got {index}"
    with pytest.raises(IndexError, match=message):
        getattr(make(), ask)(index)


@pytest.mark.parametrize("seed", [-1, 1.0, "0", True, None])
def test_a_seed_must_be_an_integer_of_at_least_zero(seed: object) -> None:
    message = f"seed: expected an integer of at least 0, got {seed!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        make(seed=seed)
