"""What projections and the recursion refuse."""

import numpy as np
from core.refused import (
    AXIS,
    BAD_MOMENT,
    COMPLEX,
    COMPLEX_MOMENT,
    FLAT_MOMENT,
    GROUPS_OF_P,
    INTEGERS,
    MOMENT,
    POSITIVE,
    REAL,
    SINGLE,
    SQUARE,
    G,
    P,
    Refusal,
)

import rgo_core
from rgo_core import SecondMoment

REFUSALS: list[Refusal] = [
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
            (10**400, "1000"),
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
        r"moment.matrix must be symmetric, got one .* by 0\.375 in a weighted sum",
    ),
    (  # whose rows and columns have one sum
        rgo_core.consolidate,
        (
            SecondMoment(3 * np.eye(3) + np.roll(np.eye(3), 1, axis=0), np.asarray(1)),
            1.0,
        ),
        {},
        ValueError,
        "moment.matrix must be symmetric, got one .* in a weighted sum",
    ),
    (
        rgo_core.consolidate,
        (SINGLE, 1.0),
        {},
        TypeError,
        "moment.matrix must be float64, got .*float32",
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
            ("looked_up", "no"),
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
]
