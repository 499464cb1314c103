"""What holds of every public function, from one table of calls."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from array_api_compat import array_namespace
from core.backends import Backend, leaves, map_tree
from core.cases import Case, normal
from core.tolerance import assert_close

import rgo_core
from rgo_core import (
    Axes,
    DiagonalMoment,
    DiagonalProjection,
    LowRankProjection,
    SecondMoment,
    SketchedMoment,
)

# Asked no array, or a NumPy one by definition.
WITHOUT_ARRAYS = {
    "Axes",
    "DiagonalMoment",
    "DiagonalProjection",
    "LowRankProjection",
    "Relative",
    "SecondMoment",
    "SketchedMoment",
    "check_axes_fit",
    "empty_diagonal",
    "empty_moment",
    "empty_sketch",
    "enough_samples",
    "features",
    "group_shape",
    "measured_damping",
    "output_contrast",
    "output_signs",
    "task_permutation",
}
MOMENTS = (SecondMoment, DiagonalMoment, SketchedMoment)

SEEN = Case(normal(0, 5, 3), 0.5)
MOMENT = SecondMoment(SEEN.information - np.eye(3), np.asarray(5))
P = (SEEN.projection + SEEN.projection.T) / 2
LOGITS, LABELS = normal(1, 2, 4), np.asarray([3, 0])
MASK = np.asarray([True, False, True, True])
ACCURACY = np.asarray([[90.0, 10.0], [80.0, 95.0]])
PERMUTATION = np.asarray([2, 0, 1])
DIAGONAL = DiagonalMoment(normal(11, 3) ** 2, np.asarray(5))
# Rows already orthogonal, so that no eigenvector has a choice of directions.
SKETCH = SketchedMoment(
    np.asarray([[3.0, 0.0, 0.0], [0.0, 1.0, 1.0]]),
    np.asarray(0.5),
    np.asarray(12.0),
    np.asarray(5),
)
SCALES = DiagonalProjection(normal(12, 3) ** 2)
LOW_RANK = LowRankProjection(normal(13, 2, 3), np.asarray(1.5))
KERNEL = Axes(inputs=(0, 1), outputs=(2,))


@dataclass(frozen=True)
class Call:
    """A public function with arguments in NumPy, float64, and what it returns."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)
    result: str = "of the input"  # or "float64" or "integer"

    @property
    def arrays(self) -> list[np.ndarray]:
        return leaves((*self.arguments, *self.options.values()))

    def cast(self, dtype: type) -> "Call":
        """Return the call with its real arrays in `dtype`; a moment's stays float64."""

        def one(array: np.ndarray) -> np.ndarray:
            return array.astype(dtype) if array.dtype.kind == "f" else array

        def each(value: Any) -> Any:
            if isinstance(value, Axes):
                return value
            return value if isinstance(value, MOMENTS) else map_tree(value, one)

        options = {name: each(value) for name, value in self.options.items()}
        arguments = tuple(each(value) for value in self.arguments)
        return Call(self.function, arguments, options, self.result)

    def on(self, backend: Backend, **options: Any) -> Any:
        return backend.call(self.function, *self.arguments, **self.options, **options)


CALLS = [
    Call(rgo_core.observe, (MOMENT, normal(2, 4, 3)), result="float64"),
    Call(rgo_core.observe, (DIAGONAL, normal(2, 4, 3)), result="float64"),
    Call(rgo_core.observe, (SKETCH, normal(2, 4, 3)), result="float64"),
    Call(rgo_core.merge_moments, (MOMENT, MOMENT), result="float64"),
    Call(rgo_core.merge_moments, (DIAGONAL, DIAGONAL), result="float64"),
    Call(rgo_core.merge_moments, (SKETCH, SKETCH), result="float64"),
    Call(rgo_core.extrapolate, (MOMENT, 0.5), result="float64"),
    Call(rgo_core.extrapolate, (DIAGONAL, 0.5), result="float64"),
    Call(rgo_core.extrapolate, (SKETCH, 0.5), result="float64"),
    Call(rgo_core.consolidate, (MOMENT, 0.5), result="float64"),
    Call(rgo_core.consolidate, (DIAGONAL, 0.5), result="float64"),
    Call(rgo_core.consolidate, (SKETCH, 0.5), result="float64"),
    Call(rgo_core.as_matrix, (P,)),
    Call(rgo_core.as_matrix, (SCALES,)),
    Call(rgo_core.as_matrix, (LOW_RANK,)),
    Call(rgo_core.normalize, (2 * P,)),
    Call(rgo_core.project, (P, normal(3, 3, 2))),
    Call(rgo_core.project, (P, normal(3, 2, 3)), {"axis": -1}),
    Call(rgo_core.project, (SCALES, normal(3, 3, 2))),
    Call(rgo_core.project, (LOW_RANK, normal(3, 3, 2))),
    Call(rgo_core.project, (LOW_RANK, normal(3, 2, 3)), {"axis": -1}),
    Call(rgo_core.project_factors, (P, normal(4, 4, 3), normal(5, 4, 2))),
    Call(rgo_core.project_factors, (P, normal(4, 1, 3), normal(5, 1, 2))),
    Call(rgo_core.gain, (P, normal(6, 3))),
    Call(rgo_core.update_projection, (P, normal(6, 3), 0.5)),
    Call(rgo_core.update_projection, (P, normal(6, 2, 3), 0.5)),
    Call(rgo_core.softmax_hessian, (LOGITS,), {"mask": MASK}),
    Call(rgo_core.softmax_hessian_root, (LOGITS,), {"mask": MASK}),
    Call(rgo_core.ground_truth_weights, (LOGITS, LABELS), {"mask": MASK}),
    Call(rgo_core.score_cotangents, (LOGITS, LABELS), {"mask": MASK}),
    Call(rgo_core.score_cotangents, (LOGITS, LABELS), {"curvature": "exact"}),
    Call(rgo_core.independent_cotangents, (LOGITS,), {"loss": "binary", "mask": MASK}),
    Call(rgo_core.independent_cotangents, (LOGITS,), {"loss": "squared-error"}),
    Call(rgo_core.independent_weights, (LOGITS,), {"loss": "binary", "mask": MASK}),
    Call(rgo_core.independent_weights, (LOGITS,), {"loss": "squared-error"}),
    Call(rgo_core.sigmoid_curvature, (LOGITS,)),
    Call(rgo_core.squared_error_curvature, (LOGITS,)),
    Call(rgo_core.curvature_vectors, (normal(7, 4, 1, 3), normal(8, 2, 4, 1, 2))),
    Call(
        rgo_core.curvature_vectors,
        (normal(7, 4, 2, 3), normal(8, 2, 4, 2, 2)),
        {"reduce": "rms", "per": "batch"},
    ),
    Call(
        rgo_core.curvature_vectors,
        (normal(7, 4, 2, 3), normal(8, 2, 4, 2, 2)),
        {"reduce": "signs", "per": "position"},
    ),
    Call(rgo_core.reduce_outputs, (normal(8, 2, 4),)),
    Call(rgo_core.reduce_outputs, (normal(8, 2, 4),), {"reduce": "signs"}),
    Call(
        rgo_core.reduce_outputs,
        (normal(8, 2, 4),),
        {"reduce": "signs", "signs": np.asarray([1, -1, -1, 1])},
    ),
    Call(rgo_core.reduce_outputs, (normal(8, 2, 4),), {"reduce": "rms"}),
    Call(rgo_core.bias_vectors, (normal(8, 2, 4, 2, 2),)),
    Call(rgo_core.bias_vectors, (normal(8, 2, 4, 2, 2),), {"per": "batch"}),
    Call(rgo_core.bias_vectors, (normal(8, 2, 4, 2, 2),), {"per": "position"}),
    Call(rgo_core.to_rows, (normal(8, 2, 3, 4), KERNEL)),
    Call(rgo_core.from_rows, (normal(8, 4, 6), KERNEL, (2, 3, 4))),
    Call(rgo_core.recursive_least_loss, (normal(9, 3), normal(10, 3), P)),
    Call(rgo_core.projected_curvature, (P, SEEN.information)),
    Call(
        rgo_core.forgetting_bound,
        (np.asarray(2.0), np.asarray(3.0)),
        {"steps": 4, "learning_rate": 0.1, "smoothness": np.asarray(5.0)},
    ),
    Call(
        rgo_core.forgetting_bound,
        (np.asarray(2.0), np.asarray(3.0)),
        {"steps": 4, "learning_rate": 0.1},
    ),
    Call(rgo_core.optimal_projection, (SEEN.information,)),
    Call(rgo_core.plasticity, (P,)),
    Call(rgo_core.plasticity, (SCALES,)),
    Call(rgo_core.plasticity, (LOW_RANK,)),
    Call(rgo_core.free_directions, (P,)),
    Call(rgo_core.free_directions, (SCALES,)),
    Call(rgo_core.free_directions, (LOW_RANK,)),
    Call(rgo_core.average_accuracy, (ACCURACY,)),
    Call(rgo_core.backward_transfer, (ACCURACY,)),
    Call(rgo_core.forward_transfer, (ACCURACY, ACCURACY[0])),
    Call(rgo_core.forgetting, (ACCURACY,)),
    Call(rgo_core.learning_accuracy, (ACCURACY,)),
    Call(rgo_core.permute, (normal(9, 3), PERMUTATION)),
    Call(rgo_core.inverse_permutation, (PERMUTATION,), result="integer"),
]

EVERY = pytest.mark.parametrize(
    "call", CALLS, ids=[f"{i}-{call.function.__name__}" for i, call in enumerate(CALLS)]
)


def test_the_table_has_every_public_function() -> None:
    named = {call.function.__name__ for call in CALLS}
    assert named | WITHOUT_ARRAYS == set(rgo_core.__all__)


@EVERY
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_and_namespace_are_kept_and_arguments_are_not_written_to(
    backend: Backend, call: Call, dtype: type
) -> None:
    # `Backend.call` looks at the namespace and at the arguments.
    first, *_ = leaves((call.cast(dtype).on(backend),))
    expected = {"of the input": dtype, "float64": np.float64, "integer": np.int64}
    assert first.dtype == expected[call.result]


@EVERY
def test_float32_gives_what_float64_gives_to_rounding(
    backend: Backend, call: Call
) -> None:
    single = leaves((call.cast(np.float32).on(backend),))
    double = leaves((call.on(backend),))
    largest = max(1.0, *(float(np.max(np.abs(array))) for array in call.arrays))
    for rough, fine in zip(single, double, strict=True):
        scale = largest * math.sqrt(fine.size) + float(np.linalg.norm(fine))
        assert_close(rough, fine, dtype=np.float32, scale=scale)


@pytest.mark.parametrize(
    "call", [call for call in CALLS if "xp" in call.function.__annotations__]
)
def test_a_namespace_by_keyword_changes_nothing(backend: Backend, call: Call) -> None:
    named = leaves((call.on(backend, xp=backend.xp),))
    found = leaves((call.on(backend),))
    for one, other in zip(named, found, strict=True):
        np.testing.assert_array_equal(one, other)


@EVERY
def test_results_stay_on_the_device_of_their_arguments(call: Call) -> None:
    strict = pytest.importorskip("array_api_strict")
    elsewhere = strict.Device("device1")

    def there(value: Any) -> Any:
        return map_tree(value, lambda array: strict.asarray(array, device=elsewhere))

    options = {name: there(value) for name, value in call.options.items()}
    result = call.function(*map(there, call.arguments), **options)
    assert {array.device for array in leaves((result,))} == {elsewhere}


@EVERY
def test_compiled_by_jax_a_function_gives_what_it_gave(call: Call) -> None:
    jax = pytest.importorskip("jax")

    def compiled(*arrays: Any) -> Any:
        rest = iter(arrays)
        arguments, options = map_tree(
            (call.arguments, tuple(call.options.values())), lambda _: next(rest)
        )
        named = dict(zip(call.options, options, strict=True))
        return call.function(*arguments, **named)

    with jax.enable_x64(True):
        arrays = [jax.numpy.asarray(array) for array in call.arrays]
        result = jax.jit(compiled)(*arrays)
        expected = call.on(Backend("jax", array_namespace(*arrays)))
        for traced, eager in zip(leaves((result,)), leaves((expected,)), strict=True):
            assert traced.dtype == eager.dtype
            assert_close(np.asarray(traced), eager)


@pytest.mark.parametrize("call", [call for call in CALLS if call.result != "float64"])
def test_jax_without_float64_does_all_that_keeps_no_second_moment(call: Call) -> None:
    jax = pytest.importorskip("jax")
    with jax.enable_x64(False):
        backend = Backend("jax", jax.numpy)
        single = Call(
            call.function,
            map_tree(call.arguments, narrow),
            {name: map_tree(value, narrow) for name, value in call.options.items()},
        )
        first, *_ = leaves((single.on(backend),))
    assert first.dtype == (np.int32 if call.result == "integer" else np.float32)


def narrow(array: np.ndarray) -> np.ndarray:
    """Halve the bits of a NumPy array's numbers."""
    halves = {"f": np.float32, "i": np.int32, "b": np.bool_}
    return array.astype(halves[array.dtype.kind])
