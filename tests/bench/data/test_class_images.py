import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bench.small_archives import SIZES, class_images
from numpy.typing import NDArray

from rgo_bench.data.class_images import cached_image_set


def blocks(*asked: list[int]) -> Iterator[NDArray[np.uint8]]:
    """The images of every class; writes down which were asked for."""
    for label in range(SIZES.classes):
        for each in asked:
            each.append(label)
        yield class_images(label).transpose(0, 3, 1, 2)


def test_the_first_images_of_a_class_train_and_the_last_test(cache: Path) -> None:
    images = cached_image_set("some", blocks(), SIZES)
    assert images.train_images.shape == (12, 3, 8, 8)
    assert images.test_images.shape == (6, 3, 8, 8)
    assert images.train_labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert images.test_labels.tolist() == [0, 0, 1, 1, 2, 2]
    for label, block in enumerate(blocks()):
        mine = images.train_images[images.train_labels == label]
        np.testing.assert_array_equal(mine, block[:4])
        np.testing.assert_array_equal(images.test_images[2 * label :][:2], block[4:])


def test_the_second_time_nothing_is_asked_for_and_the_same_comes(cache: Path) -> None:
    first = cached_image_set("some", blocks(), SIZES)
    asked: list[int] = []
    second = cached_image_set("some", blocks(asked), SIZES)
    assert asked == []
    for mine, theirs in zip(second, first, strict=True):
        np.testing.assert_array_equal(mine, theirs, strict=True)
    cached_image_set("other", blocks(asked), SIZES)
    assert asked == [0, 1, 2]


def test_images_can_not_be_written(cache: Path) -> None:
    images = cached_image_set("some", blocks(), SIZES)
    with pytest.raises(ValueError, match="read-only"):
        images.test_images[0] = 0


def test_a_failure_on_the_way_leaves_nothing_in_the_cache(cache: Path) -> None:
    def fails() -> Iterator[NDArray[np.uint8]]:
        yield next(blocks())
        raise ValueError("no good file")

    with pytest.raises(ValueError, match="no good file"):
        cached_image_set("some", fails(), SIZES)
    assert list(cache.iterdir()) == []


def test_of_two_writers_at_once_the_first_wins(cache: Path) -> None:
    def overtaken() -> Iterator[NDArray[np.uint8]]:
        cached_image_set("some", blocks(), SIZES)
        yield from (255 - block for block in blocks())

    images = cached_image_set("some", overtaken(), SIZES)
    np.testing.assert_array_equal(images.train_images[:4], next(blocks())[:4])
    assert [path.name for path in cache.iterdir()] == ["some"]


def test_a_cache_that_can_not_be_written_is_reported(cache: Path) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.touch()
    with pytest.raises(OSError, match=re.escape(str(cache))):
        cached_image_set("some", blocks(), SIZES)


@pytest.mark.parametrize("damage", ["cut", "other", "gone"])
def test_a_damaged_cache_is_refused_with_the_way_out(damage: str, cache: Path) -> None:
    cached_image_set("some", blocks(), SIZES)
    path = cache / "some" / "test.npy"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "gone":
        path.unlink()
    else:
        np.save(path, np.zeros((6, 3, 8, 7), np.uint8))
    message = (
        f"{re.escape(str(path))}: expected decoded images of shape \\(6, 3, 8, 8\\), "
        f"got .*; remove the folder {re.escape(str(path.parent))}, and it is made again"
    )
    with pytest.raises(ValueError, match=message):
        cached_image_set("some", blocks(), SIZES)
