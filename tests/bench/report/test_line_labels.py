import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from rgo_bench.report.line_labels import GAP, LineEnd, label_ends, spread_out


def test_what_is_far_apart_stays_where_it_is() -> None:
    np.testing.assert_array_equal(spread_out([9.0, 1.0, 5.0], 2.0), [9.0, 1.0, 5.0])


def test_what_coincides_is_moved_evenly_to_both_sides() -> None:
    np.testing.assert_allclose(spread_out([5.0, 5.0, 5.0], 2.0), [3.0, 5.0, 7.0])


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30), st.floats(0, 10))
def test_places_are_apart_and_in_the_order_of_the_values(
    values: list[float], gap: float
) -> None:
    places = spread_out(values, gap)
    order = np.argsort(values, kind="stable")
    rounding = 100 * len(values) * np.finfo(float).eps * (100 + gap * len(values))
    assert np.all(np.diff(places[order]) >= gap - rounding)
    assert np.mean(places) == pytest.approx(np.mean(values), abs=1e-9)


def test_every_line_is_named_at_its_end_outside_the_axes() -> None:
    axes = Figure().subplots()
    axes.set_xlim(0, 20)
    axes.set_ylim(0, 100)
    ends = [LineEnd("a", 20, 50, "#0072B2"), LineEnd("b", 10, 50, "#D55E00")]
    label_ends(axes, ends)
    for text, end in zip(axes.texts, ends, strict=True):
        assert (text.get_text(), text.xy) == (end.name, (end.x, end.y))
        assert text.get_position()[0] > 1
    heights = [text.get_position()[1] for text in axes.texts]
    np.testing.assert_allclose(heights, [50 - 50 * GAP, 50 + 50 * GAP])
