from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from rgo_bench.data import load_mnist
from rgo_bench.streams.rotated import rotation_operator

ANGLES = st.one_of(st.floats(-360, 360), st.integers(-4, 4).map(lambda n: 90.0 * n))


@given(height=st.integers(1, 9), width=st.integers(1, 9), degrees=ANGLES)
def test_it_is_the_rotation_of_scipy(height: int, width: int, degrees: float) -> None:
    image = np.random.default_rng(0).random((height, width))
    turned = rotation_operator(height, width, degrees) @ image.ravel()
    expected = ndimage.rotate(image, degrees, order=1, reshape=False)
    np.testing.assert_allclose(turned.reshape(height, width), expected, atol=1e-6)


@pytest.mark.parametrize("size", [1, 7, 8, 28])
@pytest.mark.parametrize("quarters", [-1, 0, 1, 2, 3, 4])
def test_quarter_turns_are_counter_clockwise_and_lose_no_pixel(
    size: int, quarters: int
) -> None:
    image = np.random.default_rng(0).random((size, size))
    turned = rotation_operator(size, size, 90.0 * quarters) @ image.ravel()
    expected = np.rot90(image, quarters)
    np.testing.assert_allclose(turned.reshape(size, size), expected, atol=1e-6)


def test_weights_are_fractions_of_at_most_four_pixels() -> None:
    operator = rotation_operator(28, 28, 33.0)
    assert operator.dtype == np.float32
    assert operator.data.min() > 0
    assert np.diff(operator.indptr).max() == 4
    sums = operator.sum(axis=1)
    np.testing.assert_allclose(sums[sums > 0], 1, atol=1e-6)


@pytest.mark.parametrize("degrees", [7.5998, 98.9226, 178.4361])
def test_mnist_is_turned_as_pillow_turns_it(degrees: float, mnist_folder: Path) -> None:
    digit = load_mnist(mnist_folder).test_images[0]
    turned = rotation_operator(28, 28, degrees) @ digit.ravel().astype(np.float32)
    expected = Image.fromarray(digit).rotate(degrees, Image.Resampling.BILINEAR)
    np.testing.assert_allclose(turned.reshape(28, 28), np.asarray(expected), atol=1.01)
