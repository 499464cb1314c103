"""A stream of made-up sentences for a small model, to try things on in seconds."""

from typing import Final

import torch

from rgo_bench.streams.draws import task_generator
from rgo_bench.zoo.streams import Samples, Task

TASKS: Final = 8
WORDS, OF_TOPIC, LENGTH, TOPICS = 100, 10, 8, 4
TRAIN, TEST = 640, 192


def topics(seed: int) -> list[Task]:
    """Return eight tasks of telling which of four topics a sentence speaks of.

    Each topic has ten words of a hundred, which every task draws anew; a sentence is
    eight of its topic's words: (N, 8) below 100.
    """
    tasks = []
    for index in range(TASKS):
        words = task_generator(seed, index, "classes").permutation(WORDS)
        words = words[: TOPICS * OF_TOPIC].reshape(TOPICS, OF_TOPIC)
        draws = task_generator(seed, index, "samples")
        labels = draws.integers(TOPICS, size=TRAIN + TEST)
        which = draws.integers(OF_TOPIC, size=(TRAIN + TEST, LENGTH))
        x = torch.from_numpy(words[labels[:, None], which])
        y = torch.from_numpy(labels)
        train, test = Samples(x[:TRAIN], y[:TRAIN]), Samples(x[TRAIN:], y[TRAIN:])
        tasks.append(Task(train, test))
    return tasks
