import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench.short_runs import path_of
from numpy.typing import NDArray

from rgo_bench.data import ImageSet
from rgo_bench.methods import METHODS
from rgo_bench.runs.run import run
from rgo_bench.runs.spec import make_spec
from rgo_bench.streams import make_stream
from rgo_bench.streams.split import (
    SplitOptions,
    SplitStream,
    hold_back,
    split_stream,
    task_classes,
)

OPTIONS: dict[str, Any] = {"batch": 5, "epochs": 1, "lr": 0.1}


def numbered_images(channels: tuple[int, ...] = (3,)) -> ImageSet:
    """Twelve classes of 6 training and 2 test images, each of its own brightness."""
    parts = []
    for each, first in ((6, 0), (2, 100)):
        labels = np.random.default_rng(each).permutation(np.repeat(np.arange(12), each))
        numbers = np.arange(first, first + len(labels), dtype=np.uint8)
        shape = (len(labels), *channels, 2, 2)
        images = np.broadcast_to(numbers.reshape(-1, *(len(shape) - 1) * (1,)), shape)
        parts += [images, labels]
    return ImageSet(*parts)


def show(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return images.astype(np.float32)


def make(
    *,
    images: ImageSet | None = None,
    seed: int = 0,
    tasks: int = 4,
    each: int = 3,
    samples: int = 18,
    held_back: int | None = None,
) -> SplitStream:
    options = SplitOptions(
        tasks=tasks,
        samples=samples,
        classes_per_task=each,
        held_back=held_back,
        **OPTIONS,
    )
    return SplitStream(
        "some", images or numbered_images(), options, seed=seed, show=show
    )


def own_classes(stream: SplitStream, index: int) -> set[int]:
    mask = stream.mask(index)
    assert mask is not None
    return set(np.flatnonzero(mask).tolist())


def test_tasks_have_different_classes_and_all_together() -> None:
    stream = make()
    classes = [own_classes(stream, index) for index in range(4)]
    assert [len(each) for each in classes] == [3] * 4
    assert set.union(*classes) == set(range(12))


def test_samples_are_those_of_the_classes_that_the_mask_leaves() -> None:
    stream = make()
    for index in range(4):
        mask = stream.mask(index)
        assert mask is not None
        assert (mask.shape, mask.dtype) == ((12,), np.bool_)
        for samples in (stream.train(index), stream.test(index)):
            assert set(samples.y.tolist()) == own_classes(stream, index)


def test_every_image_of_the_classes_comes_once_with_its_label() -> None:
    stream, images = make(), numbered_images()
    seen: list[int] = []
    for index in range(4):
        train, test = stream.train(index), stream.test(index)
        assert (train.x.shape, train.x.dtype) == ((18, 3, 2, 2), np.float32)
        assert (test.x.shape, test.y.dtype) == ((6, 3, 2, 2), np.int64)
        numbers = train.x[:, 0, 0, 0].astype(int)
        np.testing.assert_array_equal(train.y, images.train_labels[numbers])
        tested = test.x[:, 0, 0, 0].astype(int) - 100
        np.testing.assert_array_equal(test.y, images.test_labels[tested])
        seen += [*numbers, *tested + 100]
    assert sorted(seen) == [*range(72), *range(100, 124)]


def test_fewer_samples_are_different_images_drawn_from_the_seed() -> None:
    first, again = make(samples=7).train(1), make(samples=7).train(1)
    np.testing.assert_array_equal(first.x, again.x)
    assert len(set(first.x[:, 0, 0, 0])) == 7
    everything = set(make().train(1).x[:, 0, 0, 0])
    assert set(first.x[:, 0, 0, 0]) < everything


def test_the_seed_decides_the_classes() -> None:
    orders = {tuple(map(tuple, make(seed=seed)._classes)) for seed in (0, 1, 2)}
    assert len(orders) == 3


def test_fewer_tasks_are_the_beginning_of_more() -> None:
    long, short = make(), make(tasks=2)
    for index in range(2):
        assert own_classes(long, index) == own_classes(short, index)
        np.testing.assert_array_equal(long.train(index).x, short.train(index).x)
        np.testing.assert_array_equal(long.test(index).x, short.test(index).x)
    assert (short.classes, short.input_shape) == (12, (3, 2, 2))


def test_the_classes_of_a_seed_do_not_change_from_version_to_version() -> None:
    options = SplitOptions(tasks=2, samples=1, classes_per_task=2, **OPTIONS)
    assert task_classes("some", 100, options, seed=0).tolist() == [[54, 23], [82, 46]]


def test_a_stream_can_test_on_training_images_held_back() -> None:
    images = numbered_images()
    options = SplitOptions(
        tasks=4, samples=12, classes_per_task=3, held_back=2, **OPTIONS
    )
    stream = split_stream("some", images, options, 0, prepare=lambda images: show)
    for index in range(4):
        train, test = stream.train(index), stream.test(index)
        for label in own_classes(stream, index):
            rows = np.flatnonzero(images.train_labels == label)
            learned = sorted(train.x[train.y == label][:, 0, 0, 0].astype(int))
            assert learned == rows[:-2].tolist()
            tested = sorted(test.x[test.y == label][:, 0, 0, 0].astype(int))
            assert tested == rows[-2:].tolist()


def test_grey_images_get_a_channel() -> None:
    stream = make(images=numbered_images(channels=()))
    assert stream.input_shape == (1, 2, 2)
    assert stream.train(0).x.shape == (18, 1, 2, 2)
    assert stream.test(0).x.shape == (6, 1, 2, 2)


def test_only_images_of_the_task_are_shown() -> None:
    shown: list[int] = []

    def count(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        shown.append(len(images))
        return show(images)

    options = SplitOptions(tasks=4, samples=18, classes_per_task=3, **OPTIONS)
    stream = SplitStream("some", numbered_images(), options, seed=0, show=count)
    assert shown == []
    stream.train(0)
    stream.test(0)
    assert shown == [18, 6]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"tasks": 5},
            "options 'tasks' and 'classes_per_task' of some: expected at most 12 "
            "classes in all tasks, got 5 x 3 = 15",
        ),
        (
            {"samples": 19},
            "option 'samples' of some: expected at most 18, the training images of its "
            "smallest task, got 19",
        ),
        ({"each": 0}, "option 'classes_per_task': expected a positive integer, got 0"),
        ({"held_back": 0}, "option 'held_back': expected a positive integer, got 0"),
    ],
)
def test_what_the_images_can_not_give_is_refused(
    arguments: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make(**arguments)


def test_the_digits_make_five_tasks_for_convolutions() -> None:
    stream = make_stream("split-digits", seed=0)
    assert (stream.tasks, stream.classes, stream.input_shape) == (5, 10, (1, 8, 8))
    for index in range(5):
        assert stream.train(index).x.shape == (280, 1, 8, 8)
        torch.from_numpy(stream.train(index).x)


# The first's own rates are for 80 epochs; the second has 50 trials.
SHORTER: dict[str, dict[str, float]] = {
    "adam-nscl": {"first_lr": 1e-3, "later_lr": 1e-3, "head_lr": 1e-2},
    "rcl": {"trials": 2},
}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_the_split_digits(method: str, tmp_path: Path) -> None:
    options = {"tasks": 3, "samples": 100, **SHORTER.get(method, {})}
    spec = make_spec("split-digits", method, 0, options)
    record = run(spec, tmp_path)
    assert path_of(spec, tmp_path).is_file()
    # One of two classes, in every task learned: chance is 50.
    assert min(record.accuracy[task][task] for task in range(3)) > 70


def test_the_real_cifar_100_makes_20_tasks_around_the_mean_image(
    cifar100_folder: Path,
) -> None:
    stream = make_stream("split-cifar100", seed=0, data=cifar100_folder)
    assert (stream.tasks, stream.classes, stream.input_shape) == (20, 100, (3, 32, 32))
    total = np.zeros(stream.input_shape)
    for index in range(20):
        x, y = stream.train(index)
        assert np.bincount(y)[sorted(set(y))].tolist() == [500] * 5
        total += x.sum(axis=0, dtype=np.float64)
    # All tasks together are the training set.
    assert abs(total / 50_000).max() < 2 * np.finfo(np.float32).eps
    assert stream.test(19).x.shape == (500, 3, 32, 32)


def test_the_real_miniimagenet_makes_20_tasks_standardized_about_right(
    miniimagenet_folder: Path,
) -> None:
    stream = make_stream("split-miniimagenet", seed=0, data=miniimagenet_folder)
    assert (stream.tasks, stream.classes, stream.input_shape) == (20, 100, (3, 84, 84))
    x, y = stream.train(19)
    assert x.shape == (2500, 3, 84, 84)
    assert np.bincount(y)[sorted(set(y))].tolist() == [500] * 5
    assert abs(x.mean()) < 0.3
    assert 0.8 < x.std() < 1.3
    assert stream.test(0).x.shape == (500, 3, 84, 84)


def image_set() -> ImageSet:
    """Two classes of three and four training images, and one test image each."""
    labels = np.asarray([1, 0, 1, 0, 1, 0, 1])
    images = np.arange(7, dtype=np.uint8).reshape(7, 1, 1)
    return ImageSet(images, labels, images[:2] + 100, np.asarray([0, 1]))


def test_the_last_training_images_of_every_class_become_the_test_images() -> None:
    held = hold_back(image_set(), 2)
    assert held.test_images.ravel().tolist() == [3, 4, 5, 6]
    assert held.test_labels.tolist() == [0, 1, 0, 1]
    assert held.train_images.ravel().tolist() == [0, 1, 2]
    assert held.train_labels.tolist() == [1, 0, 1]


def test_without_a_count_the_set_stays_as_it_is() -> None:
    images = image_set()
    assert hold_back(images, None) is images


def test_every_class_keeps_an_image_to_train_on() -> None:
    with pytest.raises(
        ValueError, match=r"'held_back': expected fewer than the 3 .* class, got 3"
    ):
        hold_back(image_set(), 3)
