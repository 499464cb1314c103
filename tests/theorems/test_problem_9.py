"""Problem (9) and equation 10: of all P of trace n, the least sigma_max(P H).

``sigma_max(P H) = t`` says ``P <= t H^-1`` in the Loewner order, so that
``n = trace(P) <= t trace(H^-1)``, with equality for ``P = t H^-1`` alone. No singular
vectors are fixed on the way: the paper's U V^T = I is not needed.
"""

import numpy as np
from core.backends import Backend
from core.cases import SEEDS, Case, cases, normal
from core.tolerance import EIGENVALUE, ERROR, assert_close, assert_symmetric, unit
from hypothesis import assume, given
from hypothesis import strategies as st
from theorems.laws import LAW, WIDTHS, orthogonal, positive

from rgo_core import (
    SecondMoment,
    consolidate,
    normalize,
    optimal_projection,
    projected_curvature,
    update_projection,
)

CONDITION = 1e2  # of every H below


def least(H: np.ndarray) -> float:
    """Return ``n / trace(H^-1)``, the value of the problem."""
    return len(H) / float(np.sum(1 / np.linalg.eigvalsh(H)))


@LAW
@given(seed=SEEDS, n=WIDTHS)
def test_the_closed_form_is_feasible_and_attains_the_value(
    backend: Backend, seed: int, n: int
) -> None:
    H = positive(seed, n)
    P = backend.call(optimal_projection, H)
    assert_symmetric(P)
    assert abs(np.trace(P) - n) <= ERROR * unit(CONDITION) * n
    found = backend.call(projected_curvature, P, H)
    assert abs(found - least(H)) <= ERROR * unit(CONDITION) * least(H)
    # Every direction is then equally curved: P H = t I.
    assert_close(P @ H, least(H) * np.eye(n), condition=CONDITION)


@LAW
@given(
    seed=SEEDS,
    n=WIDTHS,
    spectrum=st.lists(st.floats(0, 1e3), min_size=6, max_size=6),
    aligned=st.booleans(),
)
def test_no_feasible_projection_does_better(
    backend: Backend, seed: int, n: int, spectrum: list[float], aligned: bool
) -> None:
    # Any eigenvalues, zeros too, with H's eigenvectors or others.
    values = np.asarray(spectrum[:n])
    assume(np.sum(values) > 1e-3)
    H = positive(seed, n)
    basis = np.linalg.eigh(H)[1] if aligned else orthogonal(seed + 1, n)
    P = backend.call(normalize, (basis * values) @ basis.T)
    found = backend.call(projected_curvature, P, H)
    assert found >= least(H) * (1 - EIGENVALUE * unit(CONDITION) * n)


@LAW
@given(seed=SEEDS, n=st.sampled_from((2, 3, 6)), size=st.floats(1e-3, 1.0))
def test_a_step_away_from_the_closed_form_makes_it_worse(
    backend: Backend, seed: int, n: int, size: float
) -> None:
    # (P' - t H^-1) has trace zero: t' >= t + the largest eigenvalue of the change,
    # seen through H^1/2, which is at least |change|_2 lambda_min(H) / (n - 1).
    H = positive(seed, n)
    best = optimal_projection(H)
    change = normal(seed + 1, n, n)
    change = change + change.T
    change -= np.trace(change) / n * np.eye(n)
    change *= size * np.linalg.eigvalsh(best)[0] / np.linalg.norm(change, 2)
    found = backend.call(projected_curvature, best + change, H)
    gain = np.linalg.norm(change, 2) * np.linalg.eigvalsh(H)[0] / (n - 1)
    assert found >= least(H) + gain - ERROR * unit(CONDITION) * least(H) * n


@LAW
@given(seed=SEEDS, n=WIDTHS, scale=st.floats(0.01, 100.0))
def test_the_general_result_sigma_is_the_least_t_with_p_below_t_times_the_inverse(
    backend: Backend, seed: int, n: int, scale: float
) -> None:
    H, P = positive(seed, n), scale * positive(seed + 1, n)
    t = float(backend.call(projected_curvature, P, H))
    inverse = np.linalg.inv(H)
    gap = np.linalg.eigvalsh(t * inverse - P)
    slack = EIGENVALUE * unit(CONDITION) * t * np.linalg.norm(inverse, 2)
    assert gap[0] >= -slack  # P <= t H^-1
    assert gap[0] <= slack  # and for no smaller t
    assert t >= np.trace(P) / np.trace(inverse) * (1 - EIGENVALUE * unit(CONDITION))


@LAW
@given(case=cases(((1, 1), (3, 5), (7, 2))))
def test_what_consolidation_returns_is_the_optimum_of_the_damped_curvature(
    backend: Backend, case: Case
) -> None:
    H = case.information - np.eye(case.features)
    moment = SecondMoment(case.damping * H, np.asarray(len(case.vectors)))
    P = backend.call(consolidate, moment, case.damping)
    damped = case.damping * case.information  # H + alpha I
    best = backend.call(optimal_projection, damped)
    assert_symmetric(P)
    assert_close(P, best, condition=case.condition)
    sigma = float(backend.call(projected_curvature, P, damped))
    value = case.damping * least(case.information)
    assert abs(sigma - value) <= EIGENVALUE * unit(case.condition) * value


@LAW
@given(case=cases(((1, 1), (3, 5), (7, 2))))
def test_algorithm_1_arrives_there_too(backend: Backend, case: Case) -> None:
    # One vector first, as printed, and the others as a block.
    start, first, rest = np.eye(case.features), case.vectors[0], case.vectors[1:]
    raw = backend.call(update_projection, start, first, case.damping)
    raw = backend.call(update_projection, raw, rest, case.damping)
    assert_symmetric(raw)
    best = case.raw(backend.call(optimal_projection, case.damping * case.information))
    # Errors are relative to the identity that it starts from.
    scale = case.features**0.5
    assert_close(raw, best, condition=case.growth, scale=scale)


def test_of_singular_curvature_the_closed_form_has_no_value_and_the_infimum_is_zero(
    backend: Backend,
) -> None:
    # H = diag(1, 0): P = diag(0, 2) is feasible and meets no curvature at all.
    found = backend.call(projected_curvature, np.diag([0.0, 2.0]), np.diag([1.0, 0.0]))
    assert found == 0
