"""A bound on how many directions a task closes, and what is told of few."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rgo_core
from rgo_core import Relative
from rgo_core._closing import Added, little_closed, most_closed
from rgo_core.damping import Damping


@given(
    seed=st.integers(0, 99),
    rows=st.integers(1, 9),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
    damping=st.sampled_from([0.1, 3.0, Relative(0.3), Relative(0.03, most=0.1)]),
)
def test_no_more_is_closed_than_the_bound(
    seed: int, rows: int, scale: float, damping: Damping
) -> None:
    n, generator = 6, np.random.default_rng(seed)
    H = rgo_core.observe(
        rgo_core.empty_moment(n), generator.normal(size=(rows, n)) * scale
    )
    Q = rgo_core.consolidate(H, damping, normalized=False)
    trace = float(np.trace(H.matrix))
    closed = n - np.trace(Q)
    assert closed <= most_closed(Added(trace, trace, n), damping) * (1 + 1e-12)


@pytest.mark.parametrize("damping", [0.5, Relative(0.1), Relative(0.1, most=0.5)])
def test_the_bound_is_reached_where_little_is_closed(damping: Damping) -> None:
    before = np.diag([40.0, 0.0, 0.0, 0.0])
    added = np.diag([0.0, 1e-6, 0.0, 0.0])
    plasticity = [
        4 * rgo_core.plasticity(rgo_core.consolidate(moment, damping, normalized=False))
        for moment in (
            rgo_core.SecondMoment(matrix, np.asarray(1))
            for matrix in (before, before + added)
        )
    ]
    alpha = damping if isinstance(damping, float) else 0.1 * 40 / 4
    alpha = min(alpha, 0.5) if getattr(damping, "most", None) else alpha
    bound = most_closed(Added(1e-6, 40.0 + 1e-6, 4), damping)
    assert bound == pytest.approx(1e-6 / alpha, rel=1e-6)
    assert plasticity[0] - plasticity[1] == pytest.approx(bound, rel=1e-3)


def test_it_is_told_where_no_weight_has_a_tenth() -> None:
    little, much = Added(0.004, 40.0, 4), Added(1.0, 40.0, 4)
    told = little_closed({"a": little, "b": Added(0, 40.0, 4)}, 0.1, "so")
    assert told is not None
    assert told.startswith("this task closes 0.04 of a direction in a, and no more in")
    assert told.endswith("the floored curvature counts that too, so")
    assert little_closed({"a": little, "b": much}, 0.1, "so") is None
    assert little_closed({}, 0.1, "so") is None
    # What was never observed in any task is refused elsewhere.
    assert little_closed({"a": Added(0, 0, 4)}, 0.1, "so") is None
    assert little_closed({"a": little, "b": Added(0, 0, 4)}, 0.1, "so") == told
