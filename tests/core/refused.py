"""What is refused: arguments that do not fit, and parts of messages."""

from collections.abc import Callable
from typing import Any

import numpy as np

from rgo_core import (
    DiagonalMoment,
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
