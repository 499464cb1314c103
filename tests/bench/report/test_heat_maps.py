import base64
import io

import numpy as np
import pytest
from bench.page_elements import read_page
from bench.sample_records import make_record, record_of
from matplotlib.image import imread
from numpy.typing import NDArray

from rgo_bench.records.groups import group_by_run
from rgo_bench.report.heat_maps import (
    COLORS,
    SIZE,
    Scale,
    heat_maps,
    mean_matrix,
    picture_data,
    shared_scale,
)


def pixels_of(uri: str) -> NDArray[np.float64]:
    head, _, content = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(imread(io.BytesIO(base64.b64decode(content)), format="png"))


def test_the_matrix_is_the_mean_over_the_seeds() -> None:
    records = [record_of([last, 90.0], seed=int(last)) for last in (80.0, 60.0)]
    np.testing.assert_array_equal(mean_matrix(records), [[90, np.nan], [70, 90]])


def test_what_was_not_tested_with_every_seed_has_no_mean() -> None:
    whole = make_record(seed=1, accuracy=((90.0, 10.0), (80.0, 94.0)))
    assert np.isnan(mean_matrix([make_record(), whole])[0, 1])


@pytest.mark.parametrize(
    ("entries", "scale"),
    [
        ([34.2, 97.0], Scale(30, 100)),
        ([40.0, 90.0], Scale(40, 90)),
        ([100.0, 100.0], Scale(90, 100)),
        ([0.0, 0.0], Scale(0, 10)),
    ],
)
def test_one_scale_of_whole_tens_holds_all_entries(
    entries: list[float], scale: Scale
) -> None:
    assert shared_scale(np.array([[entry]]) for entry in entries) == scale


def test_colors_run_from_the_low_to_the_high_and_leave_out_what_is_not_known() -> None:
    values = np.array([[20.0, np.nan], [60.0, 100.0]])
    pixels = pixels_of(picture_data(values, Scale(20, 100)))
    expected = np.array([[COLORS(0.0), (0, 0, 0, 0)], [COLORS(0.5), COLORS(1.0)]])
    np.testing.assert_allclose(pixels, expected, atol=1 / 255)


def test_colors_are_told_apart_by_lightness_alone() -> None:
    red, green, blue, _ = COLORS(np.linspace(0, 1, 64)).T
    lightness = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    assert np.all(np.diff(lightness) > 0)


def test_every_run_has_a_picture_with_words_and_whole_pixels() -> None:
    variant = "a=1,b=<2>"
    records = [
        record_of([70.0, 80.0, 90.0]),
        record_of([75.0, 85.0, 95.0], variant=variant),
    ]
    page = read_page(heat_maps(group_by_run(records)))
    first, second = page.all("figure")
    assert first.one("figcaption").text.startswith("rgo90.0 → 80.0")
    assert second.one("figcaption").text.endswith(variant)
    image = first.one("img")
    assert image.attributes["alt"] == (
        "Accuracy matrix of rgo on permuted-mnist, 3 tasks: 90.0 percent on average "
        "when learned, 80.0 at the end, 70.0 on the worst task."
    )
    height, width, _ = pixels_of(image.attributes["src"] or "").shape
    assert height == width >= SIZE
    assert height % 3 == 0
    assert (image.attributes["width"], image.attributes["height"]) == (f"{width}",) * 2


def test_the_color_bar_names_the_ends_of_the_scale() -> None:
    page = read_page(heat_maps(group_by_run([record_of([38.0, 90.0])])))
    ticks = page.one("div", "ticks").all("span")
    assert (ticks[0].text, ticks[-1].text) == ("30", "90")
    values = [float(tick.text) for tick in ticks]
    assert np.ptp(np.diff(values)) == 0
