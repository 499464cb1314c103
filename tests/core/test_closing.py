"""A bound on how many directions a task closes, and what is told of few."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rgo_core
from rgo_core import Relative, SecondMoment
from rgo_core._closing import Added, little_closed, most_closed
from rgo_core.damping import Damping, alpha_of
from rgo_core.second_moment import traces

DAMPINGS: list[Damping] = [0.1, 3.0, Relative(0.3), Relative(0.03, most=0.1)]


def closed(matrix: np.ndarray, alpha: np.ndarray) -> float:
    """Return how many directions of all groups are closed, each at its alpha."""
    eigenvalues = np.linalg.eigvalsh(matrix)
    return float((eigenvalues / (alpha[:, None] + eigenvalues)).sum())


@given(
    seed=st.integers(0, 99),
    rows=st.integers(1, 9),
    groups=st.integers(1, 3),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
    damping=st.sampled_from(DAMPINGS),
)
def test_no_more_is_closed_than_the_bound(
    seed: int, rows: int, groups: int, scale: float, damping: Damping
) -> None:
    n, generator = 6, np.random.default_rng(seed)
    # Of groups that were met unequally often, as experts are.
    sizes = np.asarray([1.0, 1e-3, 0.0])[:groups, None, None]
    before, new = generator.normal(size=(2, groups, rows, n))
    H, D = before.mT @ (before * sizes), scale * new.mT @ new
    moment = SecondMoment(H + D, np.asarray(rows))
    totals = traces(moment, np)
    alpha = np.broadcast_to(alpha_of(damping, totals / n, np), totals.shape)
    bound = most_closed(Added(float(np.trace(D.sum(0))), totals, n), damping)
    assert closed(H + D, alpha) - closed(H, alpha) <= bound * (1 + 1e-9)
    # It is what consolidation closes: the rest is free.
    Q = rgo_core.consolidate(moment, damping, normalized=False)
    free = float(np.linalg.trace(Q).sum())
    assert groups * n - free == pytest.approx(closed(H + D, alpha), rel=1e-6)


@pytest.mark.parametrize("damping", [0.5, Relative(0.1), Relative(0.1, most=0.5)])
def test_the_bound_is_reached_where_little_is_closed(damping: Damping) -> None:
    before = np.diag([40.0, 0.0, 0.0, 0.0])
    added = np.diag([0.0, 1e-6, 0.0, 0.0])
    plasticity = [
        4 * rgo_core.plasticity(rgo_core.consolidate(moment, damping, normalized=False))
        for moment in (
            SecondMoment(matrix, np.asarray(1)) for matrix in (before, before + added)
        )
    ]
    alpha = damping if isinstance(damping, float) else 0.1 * 40 / 4
    alpha = min(alpha, 0.5) if getattr(damping, "most", None) else alpha
    bound = most_closed(Added(1e-6, np.asarray(40.0 + 1e-6), 4), damping)
    assert bound == pytest.approx(1e-6 / alpha, rel=1e-6)
    assert plasticity[0] - plasticity[1] == pytest.approx(bound, rel=1e-3)


def test_it_is_told_where_no_weight_has_a_tenth() -> None:
    total, nothing = np.asarray(40.0), np.asarray(0.0)
    little, much = Added(0.004, total, 4), Added(1.0, total, 4)
    told = little_closed({"a": little, "b": Added(0, total, 4)}, 0.1, "so")
    assert told is not None
    assert told.startswith("this task closes 0.04 of a direction in a, and no more in")
    assert "the floored curvature counts that too, so. If it is floored" in told
    assert told.endswith("the damping is too large, 0.1")
    assert little_closed({"a": little, "b": much}, 0.1, "so") is None
    assert little_closed({}, 0.1, "so") is None
    # What was never observed in any task is refused elsewhere.
    assert little_closed({"a": Added(0, nothing, 4)}, 0.1, "so") is None
    assert little_closed({"a": little, "b": Added(0, nothing, 4)}, 0.1, "so") == told
    # A group with little of its own has its own alpha.
    groups = Added(0.004, np.asarray([40.0, 0.004]), 4)
    assert little_closed({"a": groups}, Relative(0.1), "so") is None
