import numpy as np
from sklearn.datasets import load_digits as load_bundled

from rgo_bench.data import load_digits


def test_every_digit_is_in_exactly_one_part() -> None:
    images = load_digits()
    bundled = load_bundled().images.reshape(-1, 64)
    parts = np.concatenate([images.train_images, images.test_images]).reshape(-1, 64)
    unscaled = np.rint(parts / 255 * 16)
    np.testing.assert_array_equal(
        unscaled[np.lexsort(unscaled.T)], bundled[np.lexsort(bundled.T)]
    )


def test_pixels_are_bytes_up_to_255_and_labels_are_integers() -> None:
    images = load_digits()
    assert images.train_images.dtype == images.test_images.dtype == np.uint8
    assert images.train_images.max() == images.test_images.max() == 255
    assert images.train_labels.dtype == images.test_labels.dtype == np.int64


def test_both_parts_have_all_ten_digits_about_equally_often() -> None:
    images = load_digits()
    for labels in (images.train_labels, images.test_labels):
        counts = np.bincount(labels)
        assert len(counts) == images.classes == 10
        assert counts.min() > 0.7 * counts.max()
