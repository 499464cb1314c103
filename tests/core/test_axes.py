import math

import numpy as np
import pytest
from core.backends import Backend
from core.cases import SEEDS, normal
from hypothesis import given
from hypothesis import strategies as st

from rgo_core import Axes, check_axes_fit, features, from_rows, group_shape, to_rows

LINEAR = Axes(outputs=(0,), inputs=(1,))
KERNEL = Axes(inputs=(0, 1, 2), outputs=(3,))
BIAS = Axes(inputs=(0,))
EMBEDDING = Axes(inputs=(0,), outputs=(1,), diagonal=True)
SCALAR = Axes(inputs=())
# A convolution of two groups, (6, 2, 3, 3), and an attention's packed (3 d, d).
GROUPED = Axes(groups=(0,), outputs=(1,), inputs=(2, 3, 4), shape=(2, 3, 2, 3, 3))
PACKED = Axes(groups=(0,), outputs=(1,), inputs=(2,), shape=(3, 4, 4))
CASES = pytest.mark.parametrize(
    ("axes", "shape", "rows"),
    [
        (LINEAR, (3, 4), (3, 4)),
        (KERNEL, (5, 5, 2, 6), (6, 50)),
        (BIAS, (4,), (1, 4)),
        (EMBEDDING, (7, 3), (3, 7)),
        (SCALAR, (), (1, 1)),
        (GROUPED, (6, 2, 3, 3), (2, 3, 18)),
        (PACKED, (12, 4), (3, 4, 4)),
        (Axes(groups=(2, 0), outputs=(3,), inputs=(1,)), (2, 3, 4, 5), (4, 2, 5, 3)),
    ],
)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[Axes, tuple[int, ...]]:
    """Draw the axes of a parameter, and its shape, in any order and division."""
    shape = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=5)))
    order = draw(st.permutations(range(len(shape))))
    first = draw(st.integers(0, len(shape)))
    second = draw(st.integers(first, len(shape)))
    axes = Axes(
        groups=tuple(order[:first]),
        outputs=tuple(order[first:second]),
        inputs=tuple(order[second:]),
    )
    if draw(st.booleans()):
        return axes._replace(shape=shape), (math.prod(shape),)
    return axes, shape


def rows_by_loop(array: np.ndarray, axes: Axes) -> np.ndarray:
    """Put every entry where its group, its output and its input say."""
    viewed = array.reshape(array.shape if axes.shape is None else axes.shape)
    parts = (axes.groups, axes.outputs, axes.inputs)
    lengths = [[viewed.shape[axis] for axis in part] for part in parts]
    m, n = math.prod(lengths[1]), math.prod(lengths[2])
    rows = np.full((*lengths[0], m, n), np.nan)
    for index in np.ndindex(viewed.shape):
        group, output, entry = ([index[axis] for axis in part] for part in parts)
        row = int(np.ravel_multi_index(output, lengths[1])) if output else 0
        column = int(np.ravel_multi_index(entry, lengths[2])) if entry else 0
        rows[(*group, row, column)] = viewed[index]
    return rows


@given(layout=layouts(), seed=SEEDS)
def test_every_entry_lands_in_the_row_of_its_output(
    backend: Backend, layout: tuple[Axes, tuple[int, ...]], seed: int
) -> None:
    axes, shape = layout
    array = normal(seed, *shape)
    rows = backend.call(to_rows, array, axes, leading=0)
    np.testing.assert_array_equal(rows, rows_by_loop(array, axes))
    assert rows.shape[-1] == features(shape, axes)
    assert rows.shape[:-2] == group_shape(shape, axes)


@given(layout=layouts(), seed=SEEDS)
def test_rows_are_put_back_where_they_were(
    backend: Backend, layout: tuple[Axes, tuple[int, ...]], seed: int
) -> None:
    axes, shape = layout
    array = normal(seed, 2, 3, *shape)
    rows = backend.call(to_rows, array, axes, leading=2)
    np.testing.assert_array_equal(backend.call(from_rows, rows, axes, shape), array)


@CASES
def test_the_layers_people_train_have_the_rows_they_should(
    backend: Backend, axes: Axes, shape: tuple[int, ...], rows: tuple[int, ...]
) -> None:
    check_axes_fit("parameter", axes, shape)
    assert backend.call(to_rows, normal(0, *shape), axes).shape == rows
    stacked = backend.call(to_rows, normal(0, 5, 2, *shape), axes)
    assert stacked.shape == (5, 2, *rows)
    single = backend.call(to_rows, normal(0, 1, *shape), axes, leading=1)
    assert single.shape == (1, *rows)


@pytest.mark.parametrize(
    ("axes", "shape"), [(LINEAR, (3, 4)), (GROUPED, (6, 2, 3, 3)), (BIAS, (4,))]
)
def test_where_the_order_is_right_rows_are_a_view(
    axes: Axes, shape: tuple[int, ...]
) -> None:
    torch = pytest.importorskip("torch")
    parameter = torch.zeros(shape)
    rows = to_rows(parameter, axes)
    assert rows.data_ptr() == parameter.data_ptr()
    assert from_rows(rows, axes, shape).data_ptr() == parameter.data_ptr()
    array = np.zeros(shape)
    assert np.shares_memory(to_rows(array, axes), array)


@pytest.mark.parametrize(
    ("axes", "shape", "message"),
    [
        (BIAS, (2, 3), r"mix: inputs, outputs and groups must be all axes of shape \("),
        (LINEAR, (3,), "each once and counted from 0, got Axes"),
        (Axes(inputs=(0,), outputs=(0,)), (3, 4), "each once and counted from 0"),
        (Axes(inputs=(-1,), outputs=(0,)), (3, 4), "each once and counted from 0"),
        (Axes(inputs=(1,), groups=(2,)), (3, 4), "each once and counted from 0"),
        (
            PACKED,
            (12, 5),
            r"mix: expected axes with a shape of 60 entries, as the parameter's "
            r"\(12, 5\) has, got \(3, 4, 4\)",
        ),
    ],
)
def test_axes_that_do_not_fit_are_refused_by_name(
    axes: Axes, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_axes_fit("mix", axes, shape)
    with pytest.raises(ValueError, match=message.replace("mix", "rows")):
        from_rows(np.zeros((4, 3)), axes, shape)


def test_an_array_without_the_axes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must have the 2 axes of Axes.*shape \(4,\)"):
        to_rows(np.zeros(4), LINEAR)
    with pytest.raises(ValueError, match=r"must have 48 entries .*got shape \(7, 4\)"):
        to_rows(np.zeros((7, 4)), PACKED)
    with pytest.raises(ValueError, match=r"array: expected axes with a shape of 28"):
        to_rows(np.zeros((7, 4)), PACKED, leading=0)


def test_an_axis_of_length_one_that_may_be_anyone_s_must_be_told() -> None:
    with pytest.raises(ValueError, match="`leading` must say how many"):
        to_rows(np.zeros((1, 12, 4)), PACKED)
    assert to_rows(np.zeros((1, 12, 4)), PACKED, leading=1).shape == (1, 3, 4, 4)


def test_rows_of_another_shape_are_refused() -> None:
    message = r"rows of an array of shape \(12, 4\) must have shape \(..., 3, 4, 4\)"
    with pytest.raises(ValueError, match=message + r", got \(4, 3, 4\)"):
        from_rows(np.zeros((4, 3, 4)), PACKED, (12, 4))
    with pytest.raises(ValueError, match=r"must have shape \(..., 1, 4\), got \(4,\)"):
        from_rows(np.zeros(4), BIAS, (4,))
