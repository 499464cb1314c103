import io
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from bench.sample_records import make_record, record_of
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba_array

from rgo_bench.paper.published import published_methods
from rgo_bench.report.plots import (
    COLORS,
    MARKERS,
    STYLES,
    average_over_seen,
    figure_average_accuracy,
)


def test_the_average_is_over_the_tasks_seen() -> None:
    rows = ((90.0, None, None), (80.0, 94.0, None), (70.0, 80.0, 90.0))
    record = make_record(accuracy=rows)
    np.testing.assert_allclose(average_over_seen(record), [90.0, 87.0, 80.0])


def test_a_task_without_tests_on_all_before_it_has_no_average() -> None:
    record = record_of([70.0, 80.0, 90.0])
    np.testing.assert_array_equal(average_over_seen(record), [90.0, np.nan, 80.0])


def test_a_line_is_the_mean_over_the_seeds_in_a_band_of_their_deviation() -> None:
    lasts = [[80.0, 90.0], [70.0, 90.0]]
    records = [
        record_of(last, seed=seed, stream="permuted-digits")
        for seed, last in enumerate(lasts)
    ]
    (axes,) = figure_average_accuracy(records).axes
    (line,) = axes.lines
    np.testing.assert_allclose(line.get_xdata(), [1, 2])
    np.testing.assert_allclose(line.get_ydata(), [90.0, 82.5])
    (band,) = axes.collections
    assert isinstance(band, PolyCollection)
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (80.0, 90.0)
    edge = band.get_paths()[0].vertices
    np.testing.assert_allclose(np.unique(edge[edge[:, 0] == 2, 1]), [80.0, 85.0])


def test_every_stream_has_axes_with_a_title_and_units() -> None:
    streams = ("rotated-mnist", "permuted-mnist")
    records = [make_record(stream=name) for name in streams]
    axes = figure_average_accuracy(records).axes
    assert [each.get_title("left") for each in axes] == sorted(streams)
    assert {each.get_xlabel() for each in axes} == {"tasks seen"}
    assert {each.get_ylabel() for each in axes} == {"average accuracy (%)"}


def test_many_streams_stand_in_rows_of_three() -> None:
    records = [make_record(stream=f"stream-{number}") for number in range(5)]
    figure = figure_average_accuracy(records)
    places = [each.get_subplotspec() for each in figure.axes]
    assert [(p.rowspan.start, p.colspan.start) for p in places] == [
        *((0, column) for column in range(3)),
        *((1, column) for column in range(2)),
    ]


def names(axes: Axes) -> list[str]:
    """The names of the lines, from the lowest end up."""
    texts = sorted(axes.texts, key=lambda text: text.get_position()[1])
    return [text.get_text() for text in texts]


def test_lines_are_named_by_methods_and_variants() -> None:
    records = [
        make_record(method="sgd"),
        make_record(),
        make_record(variant="per=batch"),
    ]
    (axes,) = figure_average_accuracy(records).axes
    assert names(axes) == ["rgo", "rgo (per=batch)", "sgd"]


def test_names_stand_in_the_order_of_the_ends() -> None:
    lasts = {"rgo": 90.0, "sgd": 40.0, "ewc": 60.0}
    records = [record_of([last] * 3, method=name) for name, last in lasts.items()]
    (axes,) = figure_average_accuracy(records).axes
    assert names(axes) == ["sgd", "ewc", "rgo"]


def test_the_papers_final_accuracy_is_marked_at_the_right_edge() -> None:
    records = [make_record(), make_record(method="mine"), make_record(method="sgd")]
    (axes,) = figure_average_accuracy(records).axes
    marks = [line for line in axes.lines if line.get_marker() == "<"]
    assert [mark.get_ydata() for mark in marks] == [[91.15], [46.11]]
    lines = [line for line in axes.lines if line not in marks]
    colors = [mark.get_color() for mark in marks]
    assert colors == [lines[0].get_color(), lines[1].get_color()]
    low, high = axes.get_ylim()
    assert low < 46.11 < 91.15 < high
    (legend,) = axes.get_legend().get_texts()
    assert legend.get_text() == "the paper's final accuracy"


def test_nothing_is_marked_where_the_paper_has_no_number() -> None:
    (axes,) = figure_average_accuracy([make_record(stream="permuted-digits")]).axes
    assert (len(axes.lines), axes.get_legend()) == (1, None)


def test_a_method_looks_the_same_in_every_figure() -> None:
    def looks(*methods: str) -> dict[str, tuple[object, ...]]:
        records = [make_record(method=m, stream="permuted-digits") for m in methods]
        (axes,) = figure_average_accuracy(records).axes
        # Lines and names are both drawn in the order of the runs.
        return {
            text.get_text(): (line.get_color(), line.get_linestyle(), line.get_marker())
            for text, line in zip(axes.texts, axes.lines, strict=True)
        }

    every = looks(*published_methods(), "owm")
    assert len(set(every.values())) == 10
    assert looks("sgd", "owm", "rgo") == {m: every[m] for m in ("rgo", "sgd", "owm")}


def test_lines_are_named_by_the_backend_where_nothing_else_differs() -> None:
    records = [make_record(), make_record(backend="jax"), make_record(method="sgd")]
    (axes,) = figure_average_accuracy(records).axes
    assert names(axes) == ["rgo, mlp, jax", "rgo, mlp, torch", "sgd"]


def test_every_line_looks_different_in_color_and_in_print() -> None:
    records = [make_record(method=f"method-{i}") for i in range(20)]
    (axes,) = figure_average_accuracy(records).axes
    looks = {(line.get_linestyle(), line.get_marker()) for line in axes.lines}
    assert len(looks) == 20
    assert len(COLORS) * len(STYLES) * len(MARKERS) == 140
    assert len(np.unique(to_rgba_array(COLORS), axis=0)) == len(COLORS)


def test_the_figure_can_be_saved_as_a_picture() -> None:
    picture = io.BytesIO()
    figure_average_accuracy([make_record()]).savefig(picture, format="png")
    assert picture.getvalue().startswith(b"\x89PNG")


def test_drawing_needs_no_pyplot_and_so_no_display_or_global_state() -> None:
    code = (
        "import sys, rgo_bench.report.plots; print('matplotlib.pyplot' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, check=True, capture_output=True, text=True)
    assert shown.stdout.strip() == "False"


def test_no_records_make_no_figure() -> None:
    message = "records: expected at least one to draw, got none"
    with pytest.raises(ValueError, match=re.escape(message)):
        figure_average_accuracy([])


def test_of_very_many_runs_one_of_each_method_is_drawn() -> None:
    """By default, or the longest with the fewest words, 32 signs of it."""
    variants = [f"lr={number}" for number in range(12)]
    records = [make_record(variant=each) for each in variants]
    records += [make_record(method="sgd", variant=each) for each in variants]
    longest = record_of([70.0] * 4, method="sgd", variant=f"lr={'1' * 40}")
    records += [make_record(), longest, replace(longest, variant=f"lr={'1' * 50}")]
    (axes,) = figure_average_accuracy(records).axes
    assert axes.get_title("left") == "permuted-mnist, one run of each method"
    (sgd, _) = names(axes)
    assert sgd == f"sgd (lr={'1' * 23}…"
    assert max(len(line.get_xdata()) for line in axes.lines) == 4
