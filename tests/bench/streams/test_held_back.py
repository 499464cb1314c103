import numpy as np
import pytest

from rgo_bench.data import ImageSet
from rgo_bench.streams.split import hold_back


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
