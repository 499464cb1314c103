"""A stream of digits written on photographs, to be cut out of them."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rgo_bench.streams.draws import task_generator
from rgo_bench.zoo.streams.digits import SIDE, split_digits
from rgo_bench.zoo.streams.tasks import IGNORED, Samples, Task

CANVAS = 16
INK = 0.25  # from which brightness on a pixel belongs to a digit
PAPER = 0.5  # how much of the photograph's brightness shines through


def digits_on_photographs(seed: int) -> list[Task]:
    """Return tasks in which each pixel of a digit on a photograph is labelled.

    Images are (N, 1, 16, 16), labels (N, 256). A task has three other digits, as in
    `split_digits`. A digit lies anywhere on a piece of scikit-learn's two photographs,
    darkened by half. Pixels of its ink have the label 1, 2 or 3; all others are
    background, 0. Background is learned, but not tested: three quarters of an image, it
    would hide what is forgotten.
    """
    photographs = _photographs()
    tasks = []
    for index, task in enumerate(split_digits(seed)):
        draws = task_generator(seed, index, "samples")
        train, test = (_written(part, photographs, draws) for part in task)
        inked = torch.where(test.y == 0, IGNORED, test.y)
        tasks.append(Task(train, Samples(test.x, inked)))
    return tasks


def _photographs() -> list[NDArray[np.float32]]:
    from sklearn.datasets import load_sample_images

    images = load_sample_images().images
    return [image.mean(-1).astype(np.float32) / 255 for image in images]


def _written(
    samples: Samples,
    photographs: list[NDArray[np.float32]],
    draws: np.random.Generator,
) -> Samples:
    """Write each image of digits on a piece of a photograph of its own."""
    low = samples.x.min()
    ink = (samples.x - low) / (samples.x.max() - low)
    pairs = (
        _canvas(image[0], int(label), photographs, draws)
        for image, label in zip(ink, samples.y, strict=True)
    )
    images, labels = zip(*pairs, strict=True)
    x = torch.stack(images)[:, None]
    return Samples((x - x.mean()) / x.std(), torch.stack(labels).flatten(1))


def _canvas(
    ink: Tensor,
    label: int,
    photographs: list[NDArray[np.float32]],
    draws: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    photograph = photographs[int(draws.integers(len(photographs)))]
    top, left = (int(draws.integers(n - CANVAS)) for n in photograph.shape)
    piece = photograph[top : top + CANVAS, left : left + CANVAS]
    image = torch.from_numpy(PAPER * piece)
    labels = torch.zeros(CANVAS, CANVAS, dtype=torch.int64)
    row, column = draws.integers(CANVAS - SIDE + 1, size=2)
    place = slice(row, row + SIDE), slice(column, column + SIDE)
    image[place] = torch.maximum(image[place], ink)
    labels[place] = torch.where(ink > INK, label + 1, 0)
    return image, labels
