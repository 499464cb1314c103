"""The handwritten digits that come with scikit-learn."""

from functools import cache
from typing import cast

import numpy as np
from numpy.typing import NDArray

from rgo_bench.data.image_set import ImageSet

BRIGHTEST = 16
TEST_EVERY = 6


def load_digits() -> ImageSet:
    """Return scikit-learn's 1,797 handwritten digits, images of shape (N, 8, 8).

    Every sixth image is a test image: 300 test and 1,497 training images. The
    images lie ordered by writer, so that each part has digits of every writer.
    Pixels are scaled from 0..16 to 0..255, the range of MNIST.
    """
    pixels, labels = _bundled()
    images = np.rint(pixels * (255 / BRIGHTEST)).astype(np.uint8)
    is_test = np.arange(len(images)) % TEST_EVERY == 0
    return ImageSet(
        images[~is_test], labels[~is_test], images[is_test], labels[is_test]
    )


@cache  # a file of text, which every run of a process would read again
def _bundled() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    # scikit-learn takes a second to import, which `rgo-bench list` need not wait for.
    from sklearn.datasets import load_digits as load_bundled

    bundled = load_bundled()
    pixels = cast("NDArray[np.float64]", bundled.images)
    return pixels, cast("NDArray[np.int64]", bundled.target).astype(np.int64)
