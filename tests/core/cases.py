"""Curvature vectors to draw, from degenerate to ill-conditioned, and their oracle."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

# (features, vectors). Few, because JAX compiles for each shape.
SHAPES = ((1, 1), (3, 5), (7, 2), (12, 40), (40, 13))
SEEDS = st.integers(0, 2**32 - 1)


@dataclass(frozen=True)
class Case:
    """Curvature vectors, a row each, and a damping."""

    vectors: np.ndarray
    damping: float

    @property
    def features(self) -> int:
        return self.vectors.shape[1]

    @cached_property
    def information(self) -> np.ndarray:
        """``I + sum g g^T / damping``, vector by vector."""
        total = np.eye(self.features)
        for vector in self.vectors:
            total = total + np.outer(vector, vector) / self.damping
        return total

    @cached_property
    def condition(self) -> float:
        return float(np.linalg.cond(self.information))

    @cached_property
    def growth(self) -> float:
        """The condition of the recursion, which starts from the identity."""
        return float(np.linalg.norm(self.information, 2))

    @cached_property
    def inverse(self) -> np.ndarray:
        """The raw projection, explicitly."""
        return np.linalg.inv(self.information)

    @cached_property
    def projection(self) -> np.ndarray:
        """The trace-normalised projection, explicitly."""
        return self.inverse * (self.features / np.trace(self.inverse))

    def raw(self, projection: np.ndarray) -> np.ndarray:
        """Undo the trace normalisation, whose scale is the oracle's."""
        return projection * (np.trace(self.inverse) / self.features)


def spectral_case(
    shape: tuple[int, int], *, log_condition: float, damping: float, seed: int
) -> Case:
    """Build vectors whose information matrix has about this condition."""
    features, vectors = shape
    random = np.random.default_rng(seed)
    rank = min(features, vectors)
    left = np.linalg.qr(random.normal(size=(vectors, rank)))[0]
    right = np.linalg.qr(random.normal(size=(features, rank)))[0]
    squares = damping * 10.0 ** (log_condition * np.linspace(1, 0, rank))
    return Case((left * np.sqrt(squares)) @ right.T, damping)


def integer_case(entries: np.ndarray, *, damping: float) -> Case:
    """See integers as vectors."""
    return Case(entries.astype(np.float64), damping)


def cases(shapes: tuple[tuple[int, int], ...] = SHAPES) -> st.SearchStrategy[Case]:
    """Draw a case: small integers (zeros, repetitions, dependence) or a spectrum."""
    dampings = st.integers(-4, 4).map(lambda exponent: 10.0**exponent)
    small = [(n, r) for n, r in shapes if n * r <= 16]
    entries = [arrays(np.int64, (r, n), elements=st.integers(-3, 3)) for n, r in small]
    return st.builds(
        spectral_case,
        st.sampled_from(shapes),
        log_condition=st.floats(0, 10),
        damping=dampings,
        seed=SEEDS,
    ) | st.builds(integer_case, st.one_of(entries), damping=dampings)


def normal(seed: int, *shape: int) -> np.ndarray:
    """Draw standard normal numbers."""
    return np.random.default_rng(seed).normal(size=shape)


def outer_sum(vectors: np.ndarray) -> np.ndarray:
    """Sum ``g g^T`` over the rows, one at a time."""
    total = np.zeros((vectors.shape[1], vectors.shape[1]))
    for vector in vectors.astype(np.float64):
        total = total + np.outer(vector, vector)
    return total
