"""How often a law is tried, and the matrices that it is tried on."""

import numpy as np
from core.cases import normal
from hypothesis import settings
from hypothesis import strategies as st

# At least 200 cases a law and backend; --hypothesis-profile=thorough tries more.
LAW = settings(max_examples=max(200, settings.default.max_examples))
# Few, because JAX compiles for each shape.
WIDTHS = st.sampled_from((1, 2, 3, 6))


def orthogonal(seed: int, n: int) -> np.ndarray:
    """Draw an orthogonal matrix."""
    return np.linalg.qr(normal(seed, n, n))[0]


def positive(seed: int, n: int, log_condition: float = 2.0) -> np.ndarray:
    """Draw a symmetric positive definite matrix with eigenvalues down from 1."""
    basis = orthogonal(seed, n)
    spectrum = 10.0 ** (-log_condition * np.linspace(0, 1, n))
    matrix = (basis * spectrum) @ basis.T
    return (matrix + matrix.T) / 2


def semidefinite(seed: int, n: int, rank: int) -> np.ndarray:
    """Draw a symmetric positive semi-definite matrix of at most this rank."""
    root = normal(seed, n, rank)
    return root @ root.T
