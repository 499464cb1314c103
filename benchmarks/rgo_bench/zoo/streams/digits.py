"""Streams of the handwritten digits that come with scikit-learn."""

import torch

from rgo_bench.data import load_digits
from rgo_bench.streams.draws import task_generator
from rgo_bench.zoo.streams.tasks import TASKS, Samples, Task, divided, join

SIDE = 8
CLASSES_OF_A_TASK = 3
TEST_EVERY = 3  # of split digits: a test set of a hundred images is too coarse


def permuted_digits(seed: int) -> list[Task]:
    """Return tasks of all ten `digits`, each with its pixels in an order of its own."""
    train, test = digits()
    tasks = []
    for index in range(TASKS):
        order = task_generator(seed, index, "transform").permutation(SIDE * SIDE)
        parts = (
            Samples(part.x.flatten(1)[:, order].reshape_as(part.x), part.y)
            for part in (train, test)
        )
        tasks.append(Task(*parts))
    return tasks


def split_digits(seed: int) -> list[Task]:
    """Return tasks of three other `digits` each, which share three outputs."""
    return split(divided(*join(digits()), every=TEST_EVERY), 10, seed)


def split(whole: Task, classes: int, seed: int) -> list[Task]:
    """Return tasks of three other classes each, of so many, as the seed draws them.

    It draws which classes a task has and in which order they get its labels 0 to 2.
    """
    order = task_generator(seed, 0, "classes").permutation(classes)
    return [
        Task(*(only_classes(part, own.tolist()) for part in whole))
        for own in order[: TASKS * CLASSES_OF_A_TASK].reshape(TASKS, -1)
    ]


def only_classes(samples: Samples, classes: list[int]) -> Samples:
    """Return the samples of some classes, which are counted from 0 in their order.

    Examples
    --------
    >>> only_classes(Samples(torch.arange(3), torch.tensor([5, 4, 7])), [7, 5]).y
    tensor([1, 0])
    """
    matches = samples.y[:, None] == torch.tensor(classes)
    chosen = matches.any(1)
    return Samples(samples.x[chosen], matches[chosen].int().argmax(1))


def digits() -> Task:
    """Return images (N, 1, 8, 8), of mean 0 and deviation 1 over the training set."""
    bundled = load_digits()
    train, test = (
        torch.from_numpy(images).float()[:, None]
        for images in (bundled.train_images, bundled.test_images)
    )
    labels = map(torch.from_numpy, (bundled.train_labels, bundled.test_labels))
    mean, deviation = train.mean(), train.std()
    scaled = ((images - mean) / deviation for images in (train, test))
    return Task(*map(Samples, scaled, labels))
