"""A task of the zoo, and how its samples are divided."""

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


class Task(NamedTuple):
    """What is learned, and what it is tested on."""

    train: Samples
    test: Samples


def divided(x: Tensor, y: Tensor, *, every: int) -> Task:
    """Divide samples: every `every`-th is a test sample, all others are for training.

    Parameters
    ----------
    x, y : Tensor (N, ...)
    every : int
        At least 2.

    Examples
    --------
    >>> task = divided(torch.arange(5), torch.arange(5), every=3)
    >>> task.train.x, task.test.x
    (tensor([1, 2, 4]), tensor([0, 3]))
    """
    is_test = torch.arange(len(x)) % every == 0
    return Task(Samples(x[~is_test], y[~is_test]), Samples(x[is_test], y[is_test]))


def check_seed(seed: int) -> None:
    """Raise unless `seed` may draw a stream.

    Raises
    ------
    ValueError
        If it is not an integer of at least 0.
    """
    if type(seed) is not int or seed < 0:
        raise ValueError(f"seed: expected an integer of at least 0, got {seed!r}")
