"""What second moments refuse, in every form."""

import numpy as np
from core.refused import (
    COMPLEX,
    DIAGONAL,
    FORMS,
    GROUPS,
    GROUPS_OF_P,
    INTEGERS,
    MOMENT,
    ONE,
    REAL,
    SINGLE,
    SKETCH,
    SQUARE,
    G,
    P,
    Refusal,
    X,
)

import rgo_core
from rgo_core import (
    DiagonalProjection,
    LowRankProjection,
)

REFUSALS: list[Refusal] = [
    # second_moment
    *(
        (rgo_core.empty_moment, (bad,), {}, ValueError, message)
        for bad, message in [
            (0, "features must be an integer >= 1, got 0"),
            (2.0, r"features must be an integer >= 1, got 2\.0"),
            (True, "features must be an integer >= 1, got True"),
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
        for share in (0, 1.5, True, "half", float("nan"), 10**400)
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
                DIAGONAL._replace(diagonal=np.ones(2, dtype=np.float32)),
                TypeError,
                "moment.diagonal must be float64, got .*float32",
            ),
            (
                SKETCH._replace(rows=np.ones((1, 2), dtype=np.float32)),
                TypeError,
                "moment.rows must be float64, got .*float32",
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
]
