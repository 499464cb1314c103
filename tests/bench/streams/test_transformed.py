import numpy as np
import pytest
from numpy.typing import NDArray

from rgo_bench.data import ImageSet
from rgo_bench.streams import transformed
from rgo_bench.streams.options import StreamOptions
from rgo_bench.streams.transformed import POOL, Transform, TransformedStream


def add_index(index: int) -> Transform:
    def add(images: NDArray[np.float32]) -> NDArray[np.float32]:
        return images + np.float32(index)

    return add


def make(images: ImageSet, samples: int = 20, seed: int = 0) -> TransformedStream:
    options = StreamOptions(tasks=3, samples=samples, batch=5, epochs=1, lr=0.1)
    return TransformedStream("added", images, options, seed=seed, transform=add_index)


def test_pixels_are_divided_by_255_flattened_and_sent_through_the_transform(
    images: ImageSet,
) -> None:
    expected = images.test_images.reshape(12, 36) / np.float32(255) + np.float32(2)
    x, y = make(images).test(2)
    np.testing.assert_array_equal(x, expected, strict=True)
    np.testing.assert_array_equal(y, images.test_labels)


def test_a_task_trains_on_different_images_with_their_labels(images: ImageSet) -> None:
    x, y = make(images).train(1)
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((20, 36), "float32", (20,), "int64")
    pool = images.train_images.reshape(30, 36) / np.float32(255) + np.float32(1)
    rows = [int(np.flatnonzero((pool == row).all(axis=1))[0]) for row in x]
    assert len(set(rows)) == 20
    np.testing.assert_array_equal(y, images.train_labels[rows])


def test_tasks_and_seeds_draw_other_images(images: ImageSet) -> None:
    orders = {
        tuple(make(images, seed=seed).train(index).y)
        for seed in (0, 1)
        for index in (0, 1, 2)
    }
    assert len(orders) == 6


def test_test_samples_are_kept(
    images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = make(images)
    kept, other = stream.test(1).x, stream.test(0).x
    assert not np.shares_memory(kept, other)
    monkeypatch.setattr(stream, "_transform", None)  # is not asked again
    assert np.shares_memory(kept, stream.test(1).x)


def test_images_are_transformed_a_part_at_a_time(
    images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make(images)
    train, test = whole.train(1).x, whole.test(1).x
    monkeypatch.setattr(transformed, "AT_ONCE", 3)
    in_parts = make(images)
    np.testing.assert_array_equal(in_parts.train(1).x, train)
    np.testing.assert_array_equal(in_parts.test(1).x, test)


def test_images_past_the_pool_are_never_drawn(images: ImageSet) -> None:
    count = POOL + 10
    many = images._replace(
        train_images=np.zeros((count, 1, 1), np.uint8),
        train_labels=np.where(np.arange(count) < POOL, 0, 1),
    )
    drawn = make(many, samples=POOL).train(0)
    assert (len(drawn.y), drawn.y.max()) == (POOL, 0)


def test_all_classes_are_in_play(images: ImageSet) -> None:
    assert make(images).mask(0) is None


def test_more_samples_than_there_are_images_are_refused(images: ImageSet) -> None:
    message = (
        "option 'samples' of added: expected at most 30, the training images that "
        "there are, got 31"
    )
    with pytest.raises(ValueError, match=message):
        make(images, samples=31)
