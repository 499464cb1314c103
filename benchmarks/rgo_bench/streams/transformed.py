"""Streams that show the same images in another form in every task."""

from collections.abc import Callable
from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from rgo_bench.data.image_set import ImageSet
from rgo_bench.streams.draws import task_generator
from rgo_bench.streams.options import StreamOptions
from rgo_bench.streams.stream import Samples, Stream

# From flattened images (N, features) to as many of the same shape.
Transform: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float32]]

# Of MNIST's 60,000 training images the protocol leaves the last 5,000 for validation.
POOL = 55_000
AT_ONCE = 1000  # images that are transformed together: few, for the memory it takes


@final
class TransformedStream(Stream):
    """A stream whose tasks show one image set, each through its own transform.

    A task trains on images drawn from the pool (the first 55,000 training images, or
    all when there are fewer) without replacement, and tests on all test images.
    Pixels are divided by 255 and flattened. All classes are in play in every task.

    Test samples are kept, which takes 31 MB a task for MNIST. `transform`, from a
    task's index to its `Transform`, is called anew for training and for the first test.
    """

    def __init__(
        self,
        name: str,
        images: ImageSet,
        settings: StreamOptions,
        *,
        seed: int,
        transform: Callable[[int], Transform],
    ) -> None:
        features = images.train_images[0].size
        super().__init__(
            name, settings, seed=seed, input_shape=(features,), classes=images.classes
        )
        self._pool = min(POOL, len(images.train_images))
        if settings.samples > self._pool:
            raise ValueError(
                f"option 'samples' of {name}: expected at most {self._pool}, the "
                f"training images that there are, got {settings.samples}"
            )
        self._images = images
        self._transform = transform
        # One array for all tasks: the system gives its pages as they are written, and
        # what training takes and gives back in between cannot break up the heap.
        shape = (settings.tasks, len(images.test_images), features)
        self._tests = np.empty(shape, np.float32)
        self._tested: set[int] = set()

    def _make_train(self, index: int) -> Samples:
        generator = task_generator(self.seed, index, "samples")
        rows = generator.choice(self._pool, size=self.samples, replace=False)
        images, labels = self._images.train_images, self._images.train_labels
        shown = np.empty((len(rows), *self.input_shape), np.float32)
        return Samples(self._show(images[rows], index, shown), labels[rows])

    def _make_test(self, index: int) -> Samples:
        if index not in self._tested:
            self._show(self._images.test_images, index, self._tests[index])
            self._tested.add(index)
        return Samples(self._tests[index], self._images.test_labels)

    def _make_mask(self, index: int) -> None:
        return None

    def _show(
        self, images: NDArray[np.uint8], index: int, shown: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        transform = self._transform(index)
        for start in range(0, len(images), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            pixels = images[part].reshape(-1, *self.input_shape).astype(np.float32)
            pixels /= 255
            shown[part] = transform(pixels)
        return shown
