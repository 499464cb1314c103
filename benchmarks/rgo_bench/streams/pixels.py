"""How images become inputs of a network."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from rgo_bench.data.image_set import ImageSet
from rgo_bench.streams.split import Show

# Of ImageNet's blue, green and red pixels after division by 255.
BGR_MEAN: Final = (0.406, 0.456, 0.485)
BGR_DEVIATION: Final = (0.225, 0.224, 0.229)


def scaled(images: ImageSet) -> Show:
    """Return the map that divides by 255, whatever the images."""
    return _scale


def minus_mean_image(images: ImageSet) -> Show:
    """Return the map that divides by 255 and subtracts the mean training image."""
    mean = (images.train_images.mean(axis=0) / 255).astype(np.float32)

    def show(taken: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = _scale(taken)
        pixels -= mean
        return pixels

    return show


def standardized_bgr(images: ImageSet) -> Show:
    """Return the map from RGB images to BGR, standardized as is usual for ImageNet.

    Division by 255, then ``(x - BGR_MEAN) / BGR_DEVIATION`` in each channel, whatever
    the images.
    """
    mean = np.array(BGR_MEAN, np.float32)[:, None, None]
    deviation = np.array(BGR_DEVIATION, np.float32)[:, None, None]

    def show(taken: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = _scale(taken[:, ::-1])
        pixels -= mean
        pixels /= deviation
        return pixels

    return show


def _scale(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    pixels = images.astype(np.float32, order="C")
    pixels /= 255
    return pixels
