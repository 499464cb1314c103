"""Permuted images: every task shuffles the pixels in its own way."""

import numpy as np
from numpy.typing import NDArray

from rgo_bench.data.image_set import ImageSet
from rgo_bench.streams.draws import task_generator
from rgo_bench.streams.options import StreamOptions
from rgo_bench.streams.transformed import Transform, TransformedStream


def permuted_stream(
    name: str, images: ImageSet, settings: StreamOptions, seed: int
) -> TransformedStream:
    """Return the stream that permutes the pixels afresh in every task, the first too.

    The seed decides the permutations and the training images of every task.
    """
    features = images.train_images[0].size

    def transform(index: int) -> Transform:
        order = pixel_permutation(seed, index, features)
        # `take` keeps rows contiguous and is three times as fast as `images[:, order]`.
        return lambda images: np.take(images, order, axis=1)

    return TransformedStream(name, images, settings, seed=seed, transform=transform)


def pixel_permutation(seed: int, task: int, features: int) -> NDArray[np.int64]:
    """Return which pixel each place shows: a pure function of the arguments."""
    return task_generator(seed, task, "transform").permutation(features)
