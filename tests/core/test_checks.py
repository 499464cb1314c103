"""Every way to be refused: what is called, and what the message says."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from core import refused_moments, refused_projections, refused_vectors
from core.backends import Backend
from core.refused import (
    DIAGONAL,
    MOMENT,
    POSITIVE,
    SKETCH,
    Arguments,
)

import rgo_core
from rgo_core import (
    DiagonalMoment,
    SecondMoment,
    SketchedMoment,
)
from rgo_core._checks import check_finite

REFUSALS = [
    *refused_moments.REFUSALS,
    *refused_projections.REFUSALS,
    *refused_vectors.REFUSALS,
]


@pytest.mark.parametrize(
    ("function", "arguments", "options", "error", "message"),
    REFUSALS,
    ids=[f"{i}-{refusal[0].__name__}" for i, refusal in enumerate(REFUSALS)],
)
def test_bad_input_is_refused_with_what_was_expected_and_what_came(
    backend: Backend,
    function: Callable[..., Any],
    arguments: Arguments,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        backend.call(function, *arguments, **options)


@pytest.mark.parametrize(
    ("bad", "shown"),
    [
        (np.float32(0.0), r"np\.float32\(0\.0\)"),
        (np.float32("nan"), r"np\.float32\(nan\)"),
        (np.float32("inf"), r"np\.float32\(inf\)"),
        (np.int64(-1), r"np\.int64\(-1\)"),
        (np.bool_(True), r"np\.True_"),
        (np.complex64(1.0), r"np\.complex64"),
    ],
)
def test_a_numpy_scalar_that_is_no_positive_number_is_refused(
    bad: np.generic, shown: str
) -> None:
    # `Backend.call` would make an array of it.
    with pytest.raises(ValueError, match=f"{POSITIVE} {shown}"):
        rgo_core.consolidate(MOMENT, bad)


@pytest.mark.parametrize("scalar", [np.float16, np.float32, np.float64, np.int64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_numpy_scalar_is_the_number_that_it_holds(
    backend: Backend, dtype: type, scalar: type
) -> None:
    moment, P = backend.convert(MOMENT), backend.array(np.eye(2, dtype=dtype))
    one = backend.array(np.asarray(1.0, dtype=dtype))
    calls = [
        lambda number: rgo_core.consolidate(moment, number),
        lambda number: rgo_core.update_projection(P, P, number),
        lambda number: rgo_core.update_projection(P, P[0, :], number),
        lambda number: rgo_core.forgetting_bound(
            one, one, steps=1, learning_rate=number, smoothness=one
        ),
    ]
    for call in calls:
        found = backend.to_numpy(call(scalar(1)))
        expected = backend.to_numpy(call(1.0))
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ({"width": 0, "task": 1}, "width must be an integer >= 1, got 0"),
        ({"width": 2.0, "task": 1}, r"width must be an integer >= 1, got 2\.0"),
        ({"width": 2, "task": -1}, "task must be an integer >= 0, got -1"),
        ({"width": 2, "task": "a"}, "task must be an integer >= 0, got 'a'"),
        ({"width": 2, "task": 1, "seed": -1}, "seed must be an integer >= 0, got -1"),
        ({"width": 2, "task": 1, "seed": None}, "seed must be an integer >= 0"),
    ],
)
def test_a_key_of_no_permutation_is_refused(key: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rgo_core.task_permutation(name="layer", **key)


# --- JAX without float64, and under its tracing


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")
def test_jax_without_float64_keeps_no_second_moment() -> None:
    jax = pytest.importorskip("jax")
    advice = "must be float64, got float32 on .*: enable it .*or keep .* in NumPy"
    with jax.enable_x64(False):
        with pytest.raises(TypeError, match=f"a second moment {advice}"):
            rgo_core.empty_moment(2, xp=jax.numpy)
        narrow = SecondMoment(jax.numpy.eye(2), jax.numpy.asarray(0))
        with pytest.raises(TypeError, match=f"moment.matrix {advice}"):
            rgo_core.observe(narrow, jax.numpy.ones((1, 2)))


def test_jax_without_float64_refuses_infinite_vectors_by_the_same_message() -> None:
    jax = pytest.importorskip("jax")
    with jax.enable_x64(False):
        vector = jax.numpy.asarray([1.0, np.nan])
        with pytest.raises(ValueError, match="vectors must be finite, got 1 NaN"):
            rgo_core.update_projection(jax.numpy.eye(2), vector, 1.0)


def test_what_jax_traces_is_not_asked_for_its_values() -> None:
    jax = pytest.importorskip("jax")
    update = jax.jit(
        lambda vector: rgo_core.update_projection(jax.numpy.eye(2), vector, 1.0)
    )
    assert bool(jax.numpy.any(jax.numpy.isnan(update(jax.numpy.full(2, np.nan)))))


def test_the_constants_of_a_compiled_function_are_not_asked_either() -> None:
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        sketch = SketchedMoment(*map(jax.numpy.asarray, SKETCH))
        diagonal = DiagonalMoment(*map(jax.numpy.asarray, DIAGONAL))
        for moment in (sketch, diagonal):
            compiled = jax.jit(lambda moment=moment: rgo_core.consolidate(moment, 1.0))
            assert bool(jax.numpy.all(jax.numpy.isfinite(compiled()[0])))


def test_shapes_are_refused_while_jax_traces() -> None:
    jax = pytest.importorskip("jax")
    update = jax.jit(
        lambda vector: rgo_core.update_projection(jax.numpy.eye(2), vector, 1.0)
    )
    with pytest.raises(ValueError, match="vectors must have n = 2 features"):
        update(jax.numpy.ones(3))
    with pytest.raises(ValueError, match="gradient must have the leading axes"):
        jax.jit(rgo_core.project)(jax.numpy.ones((3, 2, 2)), jax.numpy.ones((2, 4)))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_finite_vectors_whose_sum_overflows_are_taken(
    backend: Backend, dtype: str
) -> None:
    largest = np.finfo(dtype).max
    rows = np.asarray([[largest, largest], [largest, -largest]], dtype=dtype)
    vectors, xp = backend.array(rows), backend.xp
    check_finite("vectors", vectors, xp)
    for bad in (np.nan, np.inf, -np.inf):
        for other in (0.0, np.inf):
            wrong = backend.array(np.asarray([[bad, other]], dtype=dtype))
            with pytest.raises(ValueError, match="vectors must be finite, got"):
                check_finite("vectors", wrong, xp)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_a_relative_damping_that_would_close_nothing_is_refused(
    backend: Backend,
) -> None:
    moment = SecondMoment(np.diag([1.5e308, 1.5e308]), np.asarray(2))
    with pytest.raises(ValueError, match=r"trace\(H\) must be finite, got 1"):
        backend.call(rgo_core.consolidate, moment, rgo_core.Relative(0.1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_symmetric_to_the_rounding_of_its_dtype_is_taken(
    backend: Backend, dtype: type
) -> None:
    rows = (3 + np.random.default_rng(0).normal(size=(3000, 256))).astype(dtype)
    found = backend.call(rgo_core.optimal_projection, rows.T @ rows)
    assert np.isfinite(found).all()
