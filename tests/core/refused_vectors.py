"""What curvature, its vectors, permutations and metrics refuse."""

import numpy as np
from core.refused import (
    ACCURACY,
    COMPLEX,
    INTEGERS,
    LABELS,
    LOGITS,
    PERMUTATION,
    REAL,
    SQUARE,
    D,
    G,
    P,
    Refusal,
    X,
)

import rgo_core

REFUSALS: list[Refusal] = [
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
    (
        rgo_core.softmax_hessian,
        (LOGITS,),
        {"mask": np.zeros(3, dtype=np.bool_)},
        ValueError,
        "mask must leave a class in play, got none",
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
        "curvature must be 'ground-truth' or 'floored' or 'exact', got 'fisher'",
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
                "reduce must be 'mean' or 'rms' or 'signs' or 'uncancelled', got 'sum'",
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
