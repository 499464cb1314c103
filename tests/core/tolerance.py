"""How far a result may lie from its oracle: a multiple of eps times the condition."""

import numpy as np

# Held in 460 float64 trials with n <= 130 and conditions up to 1e10, in units of
# eps * condition: errors stayed below the first, eigenvalues within the second.
ERROR = 20.0
EIGENVALUE = 100.0
# The lowest eigenvalue of a float64 projection cast to float32, over the highest.
LOWEST_AFTER_CAST = -1e-7


def unit(condition: float = 1.0, dtype: type = np.float64) -> float:
    """Return eps times the condition."""
    return float(np.finfo(dtype).eps) * condition


def assert_close(
    actual: np.ndarray,
    expected: np.ndarray,
    *,
    condition: float = 1.0,
    dtype: type = np.float64,
    scale: float | None = None,
) -> None:
    """Bound the Frobenius norm of the error, relative to that of the oracle.

    `scale` stands in for the oracle's norm where its terms may cancel.
    """
    assert actual.shape == expected.shape
    error = np.linalg.norm(np.asarray(actual, dtype=np.float64) - expected)
    allowed = np.linalg.norm(expected) if scale is None else scale
    assert error <= ERROR * unit(condition, dtype) * allowed


def assert_symmetric(matrix: np.ndarray) -> None:
    """Demand symmetry to the last bit."""
    np.testing.assert_array_equal(matrix, np.swapaxes(matrix, -1, -2))
