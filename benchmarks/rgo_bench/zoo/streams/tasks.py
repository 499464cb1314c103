"""A task of the zoo, and how its samples are divided."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

TASKS: Final = 3
# A label that counts neither in training nor in testing.
IGNORED: Final = -100


class Samples(NamedTuple):
    """Labelled inputs; a label for each sample, or for each of its positions."""

    x: Tensor  # (N, ...)
    y: Tensor  # (N,) or (N, positions) of int64

    def at(self, rows: Tensor) -> "Samples":
        """Return the samples of some rows."""
        return Samples(self.x[rows], self.y[rows])

    def spread(self, count: int) -> "Samples":
        """Return `count` samples spread over all, or all where they are fewer."""
        return self.at(torch.linspace(0, len(self.x) - 1, count).long().unique())


def join(parts: Iterable[Samples]) -> Samples:
    """Return the samples of all parts, one part after the other."""
    return Samples(*map(torch.cat, zip(*parts, strict=True)))


class Task(NamedTuple):
    """What is learned, and what it is tested on."""

    train: Samples
    test: Samples


def divided(x: Tensor, y: Tensor, *, every: int) -> Task:
    """Divide samples: every `every`-th is a test sample, all others are for training.

    Examples
    --------
    >>> task = divided(torch.arange(5), torch.arange(5), every=3)
    >>> task.train.x, task.test.x
    (tensor([1, 2, 4]), tensor([0, 3]))
    """
    is_test = torch.arange(len(x)) % every == 0
    return Task(Samples(x, y).at(~is_test), Samples(x, y).at(is_test))


def told_apart(classes: Sequence[Tensor], *, every: int) -> Task:
    """Return the task of telling classes of samples apart, divided as by `divided`."""
    labels = [torch.full((len(own),), label) for label, own in enumerate(classes)]
    return divided(torch.cat(list(classes)), torch.cat(labels), every=every)
