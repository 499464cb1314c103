"""Every way to be refused: what is called, and what the message says."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from core.backends import Backend

import rgo_core
from rgo_core import (
    DiagonalMoment,
    DiagonalProjection,
    LowRankProjection,
    SecondMoment,
    SketchedMoment,
)

MOMENT = SecondMoment(np.eye(2), np.asarray(1))
GROUPS = SecondMoment(np.stack([np.eye(2)] * 3), np.asarray(1))
SINGLE = SecondMoment(np.eye(2, dtype=np.float32), np.asarray(1))
BAD_MOMENT = SecondMoment(np.asarray([[1.0, np.nan], [np.nan, 1.0]]), np.asarray(1))
FLAT_MOMENT = SecondMoment(np.ones(2), np.asarray(1))
COMPLEX_MOMENT = SecondMoment(np.eye(2) + 0j, np.asarray(1))
DIAGONAL = DiagonalMoment(np.ones(2), np.asarray(1))
ONE = np.asarray(1.0)
SKETCH = SketchedMoment(np.ones((1, 2)), ONE, 4 * ONE, np.asarray(1))
FORMS = "must be a SecondMoment, a DiagonalMoment or a SketchedMoment, got"
P, G, LOGITS = np.eye(2), np.ones((2, 3)), np.zeros((2, 3))
GROUPS_OF_P = np.stack([P] * 3)
LABELS = np.asarray([0, 1])
INTEGERS = np.ones((2, 2), dtype=np.int64)
COMPLEX = np.ones((2, 2)) + 0j
X, D = np.ones((4, 1, 2)), np.ones((1, 4, 1, 3))
ACCURACY = np.ones((2, 2))
PERMUTATION = np.asarray([1, 0])

REAL = "must be an array of real floating-point numbers, got dtype"
SQUARE = r"must have shape \(..., n, n\), got"
POSITIVE = "damping must be a finite number > 0, got"
AXIS = r"axis must be -2 \(n x m\) or -1 \(m x n, vectors\), got"

Arguments = tuple[Any, ...]
Refusal = tuple[Callable[..., Any], Arguments, dict[str, Any], type[Exception], str]

REFUSALS: list[Refusal] = [
    # second_moment
    *(
        (rgo_core.empty_moment, (bad,), {}, ValueError, message)
        for bad, message in [
            (0, "features must be an integer >= 1, got 0"),
            (2.0, r"features must be an integer >= 1, got 2\.0"),
        ]
    ),
    *(
        (rgo_core.observe, arguments, {}, error, message)
        for arguments, error, message in [
            ((MOMENT, INTEGERS), TypeError, f"vectors {REAL} .*int64"),
            ((MOMENT, COMPLEX), TypeError, f"vectors {REAL} .*complex128"),
            (
                (MOMENT, np.ones(2)),
                ValueError,
                r"vectors must have shape \(..., r, n\), got \(2,\)",
            ),
            (
                (MOMENT, G),
                ValueError,
                r"vectors must have n = 2 features along axis -1, got shape \(2, 3\)",
            ),
            (
                (SINGLE, P),
                TypeError,
                "moment.matrix must be float64, got .*float32 on .*: enable it",
            ),
            (
                (GROUPS, P),
                ValueError,
                r"leading axes \(3,\) of the second moment, got shape \(2, 2\)",
            ),
            (
                (MOMENT, np.asarray([[1.0, np.nan], [np.inf, 1.0]])),
                ValueError,
                "vectors must be finite, got 2 NaN or infinite entries in an array "
                r"of shape \(2, 2\)",
            ),
        ]
    ),
    (
        rgo_core.merge_moments,
        (MOMENT, GROUPS),
        {},
        ValueError,
        r"one shape, got \(2, 2\) and \(3, 2, 2\)",
    ),
    *(
        (rgo_core.merge_moments, (first, second), {}, error, message)
        for first, second, error, message in [
            (P, P, TypeError, f"first {FORMS}"),
            (
                MOMENT,
                DIAGONAL,
                TypeError,
                "of one form, got a SecondMoment and a DiagonalMoment",
            ),
            (
                DIAGONAL,
                DIAGONAL._replace(diagonal=np.ones(3)),
                ValueError,
                r"their diagonals have one shape, got \(2,\) and \(3,\)",
            ),
            (
                SKETCH,
                SKETCH._replace(rows=np.ones((2, 2))),
                ValueError,
                r"their rows have one shape, got \(1, 2\) and \(2, 2\)",
            ),
        ]
    ),
    # diagonal and sketch
    *(
        (
            *(rgo_core.extrapolate, (MOMENT, share), {}, ValueError),
            rf"share must be a number in \(0, 1\], got {share!r}",
        )
        for share in (0, 1.5, True, "half", float("nan"))
    ),
    (rgo_core.extrapolate, (P, 0.5), {}, TypeError, f"moment {FORMS}"),
    (
        *(rgo_core.observe, (MOMENT, X[0]), {"share": 0.0}, ValueError),
        r"share must be a number in \(0, 1\], got 0\.0",
    ),
    (rgo_core.empty_diagonal, (0,), {}, ValueError, "features must be an integer >= 1"),
    *(
        (rgo_core.empty_sketch, arguments, {}, ValueError, message)
        for arguments, message in [
            ((0, 1), "features must be an integer >= 1, got 0"),
            ((3, 0), "rows must be an integer >= 1, got 0"),
            ((3, 4), "rows must be at most the 3 features, got 4: keep the second"),
        ]
    ),
    *(
        (rgo_core.observe, arguments, {}, error, message)
        for arguments, error, message in [
            ((P, P), TypeError, f"moment {FORMS}"),
            ((DIAGONAL, G), ValueError, "vectors must have n = 2 features"),
            ((SKETCH, G), ValueError, "vectors must have n = 2 features"),
            (
                (DIAGONAL, GROUPS_OF_P),
                ValueError,
                r"leading axes \(\) of the second moment, got shape \(3, 2, 2\)",
            ),
            (
                (DIAGONAL, np.asarray([[1.0, np.nan]])),
                ValueError,
                "vectors must be finite, got 1 NaN",
            ),
            (
                (SKETCH, np.asarray([[1.0, np.inf]])),
                ValueError,
                "vectors must be finite, got 1 NaN or infinite",
            ),
            (
                (DIAGONAL._replace(diagonal=np.ones(2, dtype=np.float32)), P),
                TypeError,
                "moment.diagonal must be float64, got .*float32",
            ),
            (
                (SKETCH._replace(rows=np.ones((1, 2), dtype=np.float32)), P),
                TypeError,
                "moment.rows must be float64, got .*float32",
            ),
        ]
    ),
    *(
        (rgo_core.consolidate, (moment, 1.0), {}, error, message)
        for moment, error, message in [
            (P, TypeError, f"moment {FORMS}"),
            (
                DIAGONAL._replace(diagonal=np.asarray([1.0, -2.0])),
                ValueError,
                "moment.diagonal must be >= 0, got -2",
            ),
            (
                DIAGONAL._replace(diagonal=np.asarray([1.0, np.nan])),
                ValueError,
                "moment.diagonal must be finite, got 1 NaN",
            ),
            (
                DIAGONAL._replace(diagonal=np.asarray([1, 1])),
                TypeError,
                f"moment.diagonal {REAL}",
            ),
            (
                SKETCH._replace(rows=np.ones((2, 1))),
                ValueError,
                r"moment.rows must have shape \(..., l, n\) with l <= n, got \(2, 1\)",
            ),
            (
                SKETCH._replace(rows=np.full((1, 2), np.inf)),
                ValueError,
                "moment.rows must be finite, got 2 NaN",
            ),
            (
                SKETCH._replace(rows=np.ones((1, 2), dtype=np.int64)),
                TypeError,
                f"moment.rows {REAL}",
            ),
            (
                SKETCH._replace(trace=np.ones(1)),
                ValueError,
                r"moment.trace must have shape \(\), got \(1,\)",
            ),
            (
                SKETCH._replace(shrunk=-ONE),
                ValueError,
                "moment.shrunk must be >= 0, got -1",
            ),
            (
                SKETCH._replace(trace=ONE * np.nan),
                ValueError,
                "moment.trace must be finite, got 1 NaN",
            ),
        ]
    ),
    (rgo_core.as_matrix, (G,), {}, ValueError, rf"projection {SQUARE} \(2, 3\)"),
    *(
        (rgo_core.project, (projection, gradient), {}, ValueError, message)
        for projection, gradient, message in [
            (
                DiagonalProjection(ONE),
                G,
                r"projection.diagonal must have shape \(..., n",
            ),
            (DiagonalProjection(np.ones(3)), G, "gradient must have n = 3 features"),
            (DiagonalProjection(P), G, r"leading axes \(2,\) of the projection"),
            (
                LowRankProjection(np.ones(2), ONE),
                G,
                r"projection.factor must have shape \(..., l, n\), got \(2,\)",
            ),
            (
                LowRankProjection(P, np.ones(2)),
                G,
                r"projection.scale must have shape \(\), got \(2,\)",
            ),
            (LowRankProjection(P, ONE), np.ones((3, 3)), "must have n = 2 features"),
        ]
    ),
    # projection
    *(
        (rgo_core.consolidate, (MOMENT, bad), {}, ValueError, f"{POSITIVE} {shown}")
        for bad, shown in [
            (0, "0"),
            (-1.0, "-1"),
            (float("nan"), "nan"),
            (float("inf"), "inf"),
            ("1", "'1'"),
            (None, "None"),
            ((1.0,), r"\("),
            (True, "True"),
            (np.asarray(1.0), ""),
        ]
    ),
    (
        rgo_core.consolidate,
        (COMPLEX_MOMENT, 1.0),
        {},
        TypeError,
        f"moment.matrix {REAL}",
    ),
    (
        rgo_core.consolidate,
        (FLAT_MOMENT, 1.0),
        {},
        ValueError,
        f"moment.matrix {SQUARE}",
    ),
    (
        rgo_core.consolidate,
        (BAD_MOMENT, 1.0),
        {},
        ValueError,
        "moment.matrix must be finite, got 2 NaN",
    ),
    (
        rgo_core.consolidate,
        (SecondMoment(np.asarray([[1.0, 0.5], [0.0, 1.0]]), np.asarray(1)), 1.0),
        {},
        ValueError,
        r"moment.matrix must be symmetric, got one .* differ by 0\.5 in sum",
    ),
    *(
        (
            rgo_core.consolidate,
            (MOMENT, 1.0),
            {option: bad},
            ValueError,
            f"{option} must be True or False, got {bad!r}",
        )
        for option, bad in (
            ("normalized", "no"),
            ("normalized", None),
            ("relative", "no"),
        )
    ),
    (rgo_core.normalize, (INTEGERS,), {}, TypeError, f"projection {REAL}"),
    (rgo_core.normalize, (COMPLEX,), {}, TypeError, f"projection {REAL}"),
    (rgo_core.normalize, (G,), {}, ValueError, rf"projection {SQUARE} \(2, 3\)"),
    (rgo_core.project, (G, G), {}, ValueError, rf"projection {SQUARE} \(2, 3\)"),
    (rgo_core.project, (P, G), {"axis": 0}, ValueError, f"{AXIS} 0"),
    (
        rgo_core.project,
        (P, G),
        {"axis": -1},
        ValueError,
        r"gradient must have n = 2 features along axis -1, got shape \(2, 3\)",
    ),
    (
        rgo_core.project,
        (P, np.ones(2)),
        {},
        ValueError,
        r"gradient must have n = 2 features along axis -2, got shape \(2,\)",
    ),
    *(
        (
            rgo_core.project,
            (groups, gradient),
            {"axis": axis},
            ValueError,
            r"gradient must have the leading axes \(" + shown,
        )
        for groups, gradient, axis, shown in [
            (GROUPS_OF_P, P, -2, r"3,\) of the projection, got \(2, 2\)"),
            (GROUPS_OF_P, P, -1, r"3,\) of the projection, got \(2, 2\)"),
            (GROUPS_OF_P, np.ones(2), -1, r"3,\) of the projection, got \(2,\)"),
            (GROUPS_OF_P[:1], P, -2, r"1,\) of the projection, got \(2, 2\)"),
            (GROUPS_OF_P, np.ones((1, 2, 4)), -2, r"3,\) .*, got \(1, 2, 4\)"),
            (GROUPS_OF_P, np.ones((4, 2, 4)), -2, r"3,\) .*, got \(4, 2, 4\)"),
            (GROUPS_OF_P, np.ones((3, 5, 2, 4)), -2, r"3,\) .*, got \(3, 5, 2, 4\)"),
        ]
    ),
    (rgo_core.project_factors, (G, G, G), {}, ValueError, f"projection {SQUARE}"),
    *(
        (
            rgo_core.project_factors,
            (GROUPS_OF_P, inputs, gradients),
            {"axis": axis},
            ValueError,
            r"inputs and output_gradients must have the leading axes \(3,\) of the "
            rf"projection, got {shown}",
        )
        for axis in (-2, -1)
        for inputs, gradients, shown in [
            (P, G, r"\(2, 2\) and \(2, 3\)"),
            (P[None, ...], G, r"\(1, 2, 2\) and \(2, 3\)"),
        ]
    ),
    (rgo_core.project_factors, (P, P, P), {"axis": 1}, ValueError, f"{AXIS} 1"),
    (
        rgo_core.project_factors,
        (P, G, G),
        {},
        ValueError,
        "inputs must have n = 2 features along axis -1",
    ),
    (
        rgo_core.project_factors,
        (P, np.ones(2), G),
        {},
        ValueError,
        r"inputs must have shape \(..., r, n\), got \(2,\)",
    ),
    *(
        (
            rgo_core.project_factors,
            (P, P, bad),
            {},
            ValueError,
            r"output_gradients must have the 2 rows of inputs, got shape \(",
        )
        for bad in (np.ones((3, 2)), np.ones(2), np.asarray(1.0))
    ),
    # rls
    (rgo_core.gain, (G, np.ones(2)), {}, ValueError, f"projection {SQUARE}"),
    (rgo_core.gain, (P, np.ones(3)), {}, ValueError, "vector must have n = 2 features"),
    *(
        (rgo_core.update_projection, arguments, {}, error, message)
        for arguments, error, message in [
            ((INTEGERS, P, 1.0), TypeError, f"projection {REAL}"),
            ((P, INTEGERS, 1.0), TypeError, f"vectors {REAL}"),
            ((P, COMPLEX, 1.0), TypeError, f"vectors {REAL}"),
            ((G, P, 1.0), ValueError, f"projection {SQUARE}"),
            ((P, G, 1.0), ValueError, "vectors must have n = 2 features along axis -1"),
            ((P, P, 0.0), ValueError, f"{POSITIVE} 0"),
            ((P, P, float("nan")), ValueError, f"{POSITIVE} nan"),
            (
                (P, np.ones((4, 3, 2)), 1.0),
                ValueError,
                r"one vector \(..., n\) or a block \(..., r, n\) for a projection of "
                r"shape \(2, 2\), got \(4, 3, 2\)",
            ),
            (
                (GROUPS_OF_P, np.ones((4, 2)), 1.0),
                ValueError,
                r"leading axes \(3,\) of the projection, got shape \(4, 2\)",
            ),
            (
                (GROUPS_OF_P, np.ones((4, 5, 2)), 1.0),
                ValueError,
                r"leading axes \(3,\) of the projection, got shape \(4, 5, 2\)",
            ),
            (
                (P, np.asarray([np.inf, 1.0]), 1.0),
                ValueError,
                "vectors must be finite, got 1 NaN or infinite entries",
            ),
        ]
    ),
    # curvature
    *(
        (function, (bad, *labels), {}, error, message)
        for function, labels in [
            (rgo_core.softmax_hessian, ()),
            (rgo_core.softmax_hessian_root, ()),
            (rgo_core.ground_truth_weights, (LABELS,)),
        ]
        for bad, error, message in [
            (INTEGERS, TypeError, f"logits {REAL}"),
            (COMPLEX, TypeError, f"logits {REAL}"),
        ]
    ),
    (rgo_core.score_cotangents, (INTEGERS, LABELS), {}, TypeError, f"logits {REAL}"),
    (rgo_core.sigmoid_curvature, (INTEGERS,), {}, TypeError, f"logits {REAL}"),
    (rgo_core.squared_error_curvature, (COMPLEX,), {}, TypeError, f"outputs {REAL}"),
    (
        rgo_core.softmax_hessian,
        (np.asarray(1.0),),
        {},
        ValueError,
        r"logits must have shape \(..., c\), got \(\)",
    ),
    (
        rgo_core.softmax_hessian,
        (LOGITS,),
        {"mask": np.ones(3)},
        TypeError,
        "mask must be an array of bool, got dtype .*float64",
    ),
    *(
        (
            rgo_core.softmax_hessian,
            (LOGITS,),
            {"mask": bad},
            ValueError,
            rf"mask must have the 3 classes of the logits, got shape \({shown}\)",
        )
        for bad, shown in [
            (np.ones(2, dtype=np.bool_), "2,"),
            (np.asarray(True), ""),
        ]
    ),
    *(
        (
            rgo_core.softmax_hessian,
            (LOGITS,),
            {"mask": np.ones(shape, dtype=np.bool_)},
            ValueError,
            rf"mask must be one for all samples, or .* \(2, 3\), got shape \({shown}\)",
        )
        for shape, shown in [((3, 3), "3, 3"), ((1, 2, 3), "1, 2, 3")]
    ),
    *(
        (function, (LOGITS, bad), {}, error, message)
        for function in (rgo_core.ground_truth_weights, rgo_core.score_cotangents)
        for bad, error, message in [
            (np.ones(2), TypeError, "labels must be integers, got dtype .*float64"),
            (
                np.asarray([0, 1, 2]),
                ValueError,
                r"labels must have shape \(2,\) for logits of shape \(2, 3\), "
                r"whose classes lie along the last axis, got \(3,\)",
            ),
        ]
    ),
    (
        rgo_core.score_cotangents,
        (np.zeros((2, 3, 4, 5)), np.zeros((2, 4, 5), dtype=np.int64)),
        {},
        ValueError,
        r"labels must have shape \(2, 3, 4\) for logits of shape \(2, 3, 4, 5\), whose "
        r"classes lie along the last axis, got \(2, 4, 5\)",
    ),
    (
        rgo_core.score_cotangents,
        (LOGITS, LABELS),
        {"curvature": "fisher"},
        ValueError,
        "curvature must be 'ground-truth' or 'exact', got 'fisher'",
    ),
    # vectors
    *(
        (rgo_core.curvature_vectors, arguments, options, error, message)
        for arguments, options, error, message in [
            (
                (X, D),
                {"per": "task"},
                ValueError,
                "per must be 'sample' or 'batch' or 'position', got 'task'",
            ),
            (
                (X, D),
                {"reduce": "sum"},
                ValueError,
                "reduce must be 'mean' or 'rms' or 'signs', got 'sum'",
            ),
            ((INTEGERS, D), {}, TypeError, f"inputs {REAL}"),
            ((X, INTEGERS), {}, TypeError, f"output_gradients {REAL}"),
            (
                (P, D),
                {},
                ValueError,
                r"inputs must have shape \(..., b, p, n\), got \(2, 2\)",
            ),
            (
                (X, X),
                {},
                ValueError,
                r"output_gradients must have shape \(..., k, b, p, m\), got \(4, 1, 2",
            ),
            *(
                (
                    (X, bad),
                    {},
                    ValueError,
                    r"leading axes, samples and positions of inputs \(4, 1, 2\), got",
                )
                for bad in (
                    np.ones((1, 5, 1, 3)),
                    np.ones((1, 4, 2, 3)),
                    np.ones((6, 1, 4, 1, 3)),
                )
            ),
        ]
    ),
    *(
        (rgo_core.reduce_outputs, (G,), options, ValueError, message)
        for options, message in [
            (
                {"signs": np.ones(3)},
                "signs are for reduce=\"signs\", got reduce='mean'",
            ),
            (
                {"signs": np.ones(2), "reduce": "signs"},
                r"signs must have shape \(3,\), one for each output, got \(2,\)",
            ),
        ]
    ),
    (rgo_core.bias_vectors, (D,), {"per": None}, ValueError, "per must be 'sample' or"),
    (rgo_core.bias_vectors, (INTEGERS,), {}, TypeError, f"output_gradients {REAL}"),
    (
        rgo_core.bias_vectors,
        (X,),
        {},
        ValueError,
        r"output_gradients must have shape \(k, b, p, m\), got \(4, 1, 2\)",
    ),
    # permutation
    (
        rgo_core.inverse_permutation,
        (np.ones(2),),
        {},
        TypeError,
        "permutation must be an array of integers, got dtype .*float64",
    ),
    (
        rgo_core.inverse_permutation,
        (INTEGERS,),
        {},
        ValueError,
        r"permutation must have shape \(width,\), got \(2, 2\)",
    ),
    (
        rgo_core.permute,
        (G, np.ones(3)),
        {},
        TypeError,
        "permutation must be an array of integers",
    ),
    (
        rgo_core.permute,
        (G, PERMUTATION),
        {},
        ValueError,
        "permutation must have the 3 entries of axis -1, got 2",
    ),
    *(
        (
            rgo_core.permute,
            (G, PERMUTATION),
            {"axis": bad},
            ValueError,
            f"axis {bad} is outside an array of 2 axes",
        )
        for bad in (2, -3)
    ),
    # metrics
    *(
        (function, (bad,), {}, error, message)
        for function in (
            rgo_core.average_accuracy,
            rgo_core.backward_transfer,
            rgo_core.forgetting,
            rgo_core.learning_accuracy,
        )
        for bad, error, message in [
            (INTEGERS, TypeError, f"accuracy {REAL}"),
            (G, ValueError, rf"accuracy {SQUARE} \(2, 3\)"),
            (
                np.ones((3, 2, 2)),
                ValueError,
                r"accuracy must have shape \(T, T\) .*, got \(3, 2, 2\)",
            ),
            (np.ones((0, 0)), ValueError, r"at least one task, got \(0, 0\)"),
        ]
    ),
    (
        rgo_core.forward_transfer,
        (ACCURACY, np.ones(3)),
        {},
        ValueError,
        r"untrained must have one entry for each of 2 tasks, got shape \(3,\)",
    ),
    (rgo_core.forward_transfer, (ACCURACY, LABELS), {}, TypeError, f"untrained {REAL}"),
    (rgo_core.forward_transfer, (G, LABELS), {}, ValueError, f"accuracy {SQUARE}"),
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
