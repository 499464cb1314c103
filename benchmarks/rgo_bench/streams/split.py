"""Split streams: every task has classes of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from rgo_bench.data.image_set import ImageSet
from rgo_bench.streams.draws import task_generator
from rgo_bench.streams.options import Count, StreamOptions
from rgo_bench.streams.stream import Samples, Stream

# From images (N, channels, height, width) to as many inputs of the same shape.
Show: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@final
@dataclass(frozen=True, kw_only=True)
class SplitOptions(StreamOptions):
    """The options of a split stream.

    Tasks take their classes one after the other in an order drawn from the seed, so
    that fewer tasks are the beginning of more.
    """

    classes_per_task: Count = 5
    held_back: Count | None = None  # training images of a class to test on instead


@final
class SplitStream(Stream):
    """A stream whose tasks have different classes of one image set.

    A task trains on images drawn without replacement from the training images of its
    classes, and tests on all their test images. Labels are those of the image set; the
    head has an output for each of its classes, of which a task's mask leaves its own.
    Grey images get an axis of one channel.

    Only the images of the task that is asked for become floating-point numbers, by
    `show`. Test samples are made anew at every call, for those of miniImageNet's 20
    tasks would take 850 MB.
    """

    def __init__(
        self,
        name: str,
        images: ImageSet,
        settings: SplitOptions,
        *,
        seed: int,
        show: Show,
    ) -> None:
        super().__init__(
            name,
            settings,
            seed=seed,
            input_shape=_with_channels(images.train_images).shape[1:],
            classes=images.classes,
        )
        self._images = images
        self._show = show
        self._classes = task_classes(name, images.classes, settings, seed)
        counts = np.bincount(images.train_labels, minlength=images.classes)
        available = int(counts[self._classes].sum(axis=1).min())
        if settings.samples > available:
            raise ValueError(
                f"option 'samples' of {name}: expected at most {available}, the "
                f"training images of its smallest task, got {settings.samples}"
            )

    def _make_train(self, index: int) -> Samples:
        images, labels = self._images.train_images, self._images.train_labels
        generator = task_generator(self.seed, index, "samples")
        rows = generator.choice(self._rows(labels, index), self.samples, replace=False)
        return Samples(self._show(_with_channels(images[rows])), labels[rows])

    def _make_test(self, index: int) -> Samples:
        images, labels = self._images.test_images, self._images.test_labels
        rows = self._rows(labels, index)
        return Samples(self._show(_with_channels(images[rows])), labels[rows])

    def _make_mask(self, index: int) -> NDArray[np.bool_]:
        return np.isin(np.arange(self.classes), self._classes[index])

    def _rows(self, labels: NDArray[np.int64], index: int) -> NDArray[np.intp]:
        return np.flatnonzero(np.isin(labels, self._classes[index]))


def split_stream(
    name: str,
    images: ImageSet,
    settings: SplitOptions,
    seed: int,
    *,
    prepare: Callable[[ImageSet], Show],
) -> SplitStream:
    """Return the stream that gives every task classes of its own.

    The seed decides the classes and the training images of every task; `prepare` learns
    from the image set how to make inputs of images.
    """
    images = hold_back(images, settings.held_back)
    return SplitStream(name, images, settings, seed=seed, show=prepare(images))


def hold_back(images: ImageSet, count: int | None) -> ImageSet:
    """Return an image set that tests on the last `count` training images of each class.

    They train no more, and the set's own test images are left out, so that no option
    can be chosen by those. None leaves the set as it is.
    """
    if count is None:
        return images
    labels = images.train_labels
    rows = [np.flatnonzero(labels == label) for label in range(images.classes)]
    fewest = min(map(len, rows))
    if count >= fewest:
        raise ValueError(
            f"option 'held_back': expected fewer than the {fewest} training images of "
            f"the smallest class, got {count}"
        )
    kept = np.sort(np.concatenate([row[:-count] for row in rows]))
    held = np.sort(np.concatenate([row[-count:] for row in rows]))
    return ImageSet(
        images.train_images[kept],
        labels[kept],
        images.train_images[held],
        labels[held],
    )


def task_classes(
    name: str, classes: int, settings: SplitOptions, seed: int
) -> NDArray[np.int64]:
    """Return the classes of every task, of shape ``(tasks, classes_per_task)``."""
    tasks, each = settings.tasks, settings.classes_per_task
    if tasks * each > classes:
        raise ValueError(
            f"options 'tasks' and 'classes_per_task' of {name}: expected at most "
            f"{classes} classes in all tasks, got {tasks} x {each} = {tasks * each}"
        )
    order = task_generator(seed, 0, "classes").permutation(classes)
    return order[: tasks * each].reshape(tasks, each)


def _with_channels(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return images[:, None] if images.ndim == 3 else images
