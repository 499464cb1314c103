from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from rgo_bench.data import ImageSet, load_digits
from rgo_bench.streams.pixels import (
    BGR_DEVIATION,
    BGR_MEAN,
    minus_mean_image,
    scaled,
    standardized_bgr,
)
from rgo_bench.streams.split import Show

# Of a pixel and of its mean, both at most 1, in float32.
ROUNDING = 2 * float(np.finfo(np.float32).eps)
MAPS = [scaled, minus_mean_image, standardized_bgr]


def color_images() -> ImageSet:
    draw = np.random.default_rng(0)
    train, test = (
        draw.integers(0, 256, (count, 3, 4, 5), dtype=np.uint8) for count in (50, 9)
    )
    return ImageSet(train, np.arange(50) % 10, test, np.arange(9))


def test_scaled_pixels_are_divided_by_255() -> None:
    images = color_images()
    expected = images.test_images.astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(scaled(images)(images.test_images), expected)


def test_the_mean_of_the_training_images_is_zero_in_every_pixel() -> None:
    images = color_images()
    show = minus_mean_image(images)
    x = show(images.train_images).astype(np.float64)
    assert x.shape == (50, 3, 4, 5)
    assert abs(x.mean(axis=0)).max() < ROUNDING
    # Of the test images the training images' mean is subtracted.
    expected = images.test_images / 255 - images.train_images.mean(axis=0) / 255
    np.testing.assert_allclose(
        show(images.test_images), expected, rtol=0, atol=ROUNDING
    )


def test_grey_images_have_a_mean_image_too() -> None:
    digits = load_digits()
    x = minus_mean_image(digits)(digits.train_images).astype(np.float64)
    assert abs(x.mean(axis=0)).max() < ROUNDING


@pytest.mark.parametrize(
    ("red_green_blue", "channel"),
    [((255, 0, 0), 2), ((0, 255, 0), 1), ((0, 0, 255), 0)],
)
def test_blue_comes_first_and_red_last(
    red_green_blue: tuple[int, int, int], channel: int
) -> None:
    image = np.array(red_green_blue, np.uint8).reshape(1, 3, 1, 1)
    x = standardized_bgr(color_images())(image)[0, :, 0, 0]
    lit = [(1 - mean) / std for mean, std in zip(BGR_MEAN, BGR_DEVIATION, strict=True)]
    dark = [-mean / std for mean, std in zip(BGR_MEAN, BGR_DEVIATION, strict=True)]
    expected = [lit[i] if i == channel else dark[i] for i in range(3)]
    np.testing.assert_allclose(x, expected, rtol=4 * ROUNDING)


def test_the_numbers_are_those_of_the_protocol() -> None:
    assert BGR_MEAN == (0.406, 0.456, 0.485)
    assert BGR_DEVIATION == (0.225, 0.224, 0.229)


@pytest.mark.parametrize("prepare", MAPS)
def test_inputs_are_contiguous_floats_and_images_stay_as_they_are(
    prepare: Callable[[ImageSet], Show],
) -> None:
    images = color_images()
    before = images.train_images.copy()
    x: NDArray[np.float32] = prepare(images)(images.train_images)
    assert x.dtype == np.float32
    assert x.flags.c_contiguous
    np.testing.assert_array_equal(images.train_images, before)
