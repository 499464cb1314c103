"""The form in which every image reader hands over its data."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class ImageSet(NamedTuple):
    """Labelled images, divided into training and test images.

    The images may lie in a file that is mapped into memory: take the rows needed, and
    do not write to them. Grey images have no axis of channels.
    """

    train_images: NDArray[np.uint8]  # (N, height, width) or (N, 3, height, width), RGB
    train_labels: NDArray[np.int64]  # (N,)
    test_images: NDArray[np.uint8]  # as the training images
    test_labels: NDArray[np.int64]  # (M,)

    @property
    def classes(self) -> int:
        """Number of classes: one more than the largest label."""
        return 1 + int(max(self.train_labels.max(), self.test_labels.max()))
