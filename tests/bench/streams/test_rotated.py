import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.small_images import small_images
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from rgo_bench.data import load_mnist
from rgo_bench.streams.rotated import (
    FIXED_ANGLES,
    RotatedOptions,
    rotated_stream,
    rotation_operator,
    task_angle,
)


def options(**changes: Any) -> RotatedOptions:
    good: dict[str, Any] = {"tasks": 3, "samples": 20, "batch": 5, "epochs": 1}
    return RotatedOptions(**{**good, "lr": 0.1, **changes})


@pytest.mark.parametrize("angles", ["fixed", "drawn"])
def test_every_task_turns_training_and_test_images_by_its_angle(angles: str) -> None:
    settings = options(angles=angles)
    stream = rotated_stream("rotated", small_images(), settings, 4)
    for index in range(3):
        degrees = task_angle(settings, 4, index)
        test, pool = (
            ndimage.rotate(
                part / 255, degrees, axes=(2, 1), reshape=False, order=1
            ).reshape(len(part), -1)
            for part in (small_images().test_images, small_images().train_images)
        )
        np.testing.assert_allclose(stream.test(index).x, test, atol=1e-6)
        distance = np.abs(stream.train(index).x[:, None] - pool).max(axis=2)
        assert distance.min(axis=1).max() < 1e-6


def test_there_is_one_fixed_angle_in_every_step_of_nine_degrees() -> None:
    steps = np.floor(np.array(FIXED_ANGLES) / 9)
    np.testing.assert_array_equal(steps, np.arange(20))


def test_fixed_angles_do_not_depend_on_the_seed() -> None:
    assert task_angle(options(), 0, 2) == task_angle(options(), 1, 2) == 20.5018


def test_drawn_angles_depend_on_the_seed_and_stay_within_their_steps() -> None:
    settings = options(tasks=50, angles="drawn", step=36.0)
    turns = np.array(
        [[task_angle(settings, seed, k) for k in range(50)] for seed in (0, 1)]
    )
    np.testing.assert_array_equal(np.floor(turns / 36), [range(50)] * 2)
    assert (turns[0] != turns[1]).all()


def test_images_lie_row_by_row_in_memory_and_stay_float32() -> None:
    x = rotated_stream("rotated", small_images(), options(), 0).train(0).x
    assert (x.dtype, x.flags.c_contiguous) == ("float32", True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"angles": "random"},
            "option 'angles': expected one of fixed, drawn, got 'random'",
        ),
        (
            {"angles": "drawn", "step": 0.0},
            "option 'step': expected a positive number, got 0.0",
        ),
        (
            {"tasks": 21},
            "option 'tasks': expected at most 20 with angles='fixed', got 21; "
            "angles='drawn' allows more",
        ),
        (
            {"step": 36.0},
            "option 'step': expected 9.0 with angles='fixed', got 36.0; "
            "add step=9.0, or take angles='drawn'",
        ),
        ({"tasks": 0}, "option 'tasks': expected a positive integer, got 0"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        options(**changes)


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
