"""Theorem 6 and Lemma 7: the recursive least loss stands for the sum of old losses.

Where theta* minimises the sum of quadratic old losses, that sum is the recursive least
loss plus a constant, so that minimising ``L_k + F_RLL`` minimises the sum of all.
"""

import numpy as np
from core.backends import Backend
from core.cases import SEEDS, normal
from core.tolerance import ERROR, assert_close, unit
from hypothesis import given
from hypothesis import strategies as st
from theorems.laws import LAW, WIDTHS, positive, semidefinite

from rgo_core import recursive_least_loss

TASKS = st.integers(2, 5)


def draw_tasks(
    seed: int, n: int, tasks: int, *, full: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Draw Hessians (tasks, n, n) and minima (tasks, n) of quadratic losses."""
    seeds = range(seed, seed + tasks)
    rank = (n + 1) // 2
    hessians = [positive(s, n) if full else semidefinite(s, n, rank) for s in seeds]
    return np.stack(hessians), normal(seed + tasks, tasks, n)


def solve_in_order(hessians: np.ndarray, centers: np.ndarray) -> list[np.ndarray]:
    """Minimise ``L_k + F_RLL`` task by task: from the old minimum and H alone."""
    H, theta = hessians[0], centers[0]
    found = [theta]
    for new, center in zip(hessians[1:], centers[1:], strict=True):
        pull = H @ theta + new @ center
        H = H + new
        theta = np.linalg.lstsq(H, pull, rcond=None)[0]
        found.append(theta)
    return found


def old_loss(
    backend: Backend, theta: np.ndarray, hessians: np.ndarray, centers: np.ndarray
) -> float:
    """Sum the losses ``1/2 (theta - c_j)^T H_j (theta - c_j)``."""
    everywhere = np.broadcast_to(theta, centers.shape)
    losses = backend.call(recursive_least_loss, everywhere, centers, hessians)
    return float(np.sum(losses))


@LAW
@given(seed=SEEDS, n=WIDTHS, tasks=TASKS)
def test_tasks_solved_in_order_end_at_the_minimum_of_the_sum(
    backend: Backend, seed: int, n: int, tasks: int
) -> None:
    hessians, centers = draw_tasks(seed, n, tasks)
    theta, condition = solve_in_order(hessians, centers)[-1], 1e2 * tasks
    H = np.sum(hessians, axis=0)
    expected = np.linalg.solve(H, np.sum(hessians @ centers[..., None], axis=0)[:, 0])
    scale = float(np.max(np.linalg.norm(centers, axis=-1))) * tasks
    assert_close(theta, expected, condition=condition, scale=scale)
    # And the recursive least loss says how much any other point loses by it.
    other = theta + normal(seed + 99, n)
    sums = [old_loss(backend, x, hessians, centers) for x in (other, theta)]
    grown = backend.call(recursive_least_loss, other, theta, H)
    assert abs(sums[0] - sums[1] - grown) <= ERROR * unit(condition) * sums[0]


@LAW
@given(seed=SEEDS, n=WIDTHS, tasks=TASKS)
def test_lemma_7_the_old_gradients_cancel_where_the_tasks_were_left(
    backend: Backend, seed: int, n: int, tasks: int
) -> None:
    hessians, centers = draw_tasks(seed, n, tasks, full=False)
    theta = solve_in_order(hessians, centers)[-1]
    gradients = (hessians @ (theta - centers)[..., None])[..., 0]
    # F_RLL is symmetric about theta: its growth has no first-order part.
    step, H = normal(seed + 99, n), np.sum(hessians, axis=0)
    grown = [
        backend.call(recursive_least_loss, theta + sign * step, theta, H)
        for sign in (1.0, -1.0)
    ]
    summed = [
        old_loss(backend, theta + sign * step, hessians, centers) for sign in (1, -1)
    ]
    spectrum = np.linalg.eigvalsh(H)
    lowest = np.min(spectrum[spectrum > 1e-8 * spectrum[-1]])
    condition = spectrum[-1] / lowest
    scale = float(np.linalg.norm(np.abs(gradients))) + spectrum[-1] * (
        np.linalg.norm(centers) + np.linalg.norm(theta)
    )
    slack = ERROR * unit(condition) * scale
    assert np.linalg.norm(np.sum(gradients, axis=0)) <= slack
    longest = 1 + np.linalg.norm(step) + np.linalg.norm(theta - centers)
    assert abs((summed[0] - summed[1]) - (grown[0] - grown[1])) <= slack * longest


@LAW
@given(seed=SEEDS, n=WIDTHS, tasks=TASKS)
def test_left_elsewhere_the_sum_grows_by_a_first_order_term_too(
    backend: Backend, seed: int, n: int, tasks: int
) -> None:
    hessians, centers = draw_tasks(seed, n, tasks)
    left, other = normal(seed + 98, n), normal(seed + 99, n)
    H = np.sum(hessians, axis=0)
    pull = np.sum(hessians @ (left - centers)[..., None], axis=0)[:, 0]
    sums = [old_loss(backend, x, hessians, centers) for x in (other, left)]
    grown = float(backend.call(recursive_least_loss, other, left, H))
    scale = sums[0] + sums[1] + grown
    error = abs(sums[0] - sums[1] - grown - pull @ (other - left))
    assert error <= ERROR * unit() * scale * tasks


def test_a_task_that_was_learned_alone_breaks_the_equivalence(
    backend: Backend,
) -> None:
    # L_1 = theta^2 / 2, L_2 = (theta - 2)^2 / 2, left at 2 and not at 1, and a third
    # task like the first: 4/3 in place of 2/3.
    hessians, centers = np.ones((3, 1, 1)), np.asarray([[0.0], [2.0], [0.0]])
    truth = solve_in_order(hessians, centers)[-1]
    wrong = solve_in_order(np.asarray([[[2.0]], [[1.0]]]), centers[1:])[-1]
    assert_close(truth, np.asarray([2 / 3]))
    assert_close(wrong, np.asarray([4 / 3]))
    lost = old_loss(backend, wrong, hessians, centers)
    assert lost > old_loss(backend, truth, hessians, centers) + 0.6


def test_a_loss_that_is_not_quadratic_breaks_the_equivalence(backend: Backend) -> None:
    # L_1 = theta^4 has no curvature at its minimum: F_RLL sees nothing, and minimising
    # it plus L_2 = (theta - 1)^2 / 2 gives 1, where the sum has its minimum at 1/2.
    unseen = backend.call(
        recursive_least_loss, np.ones(1), np.zeros(1), np.zeros((1, 1))
    )
    assert unseen == 0
    gradient = np.polynomial.Polynomial([-1.0, 1.0, 0.0, 4.0])
    assert gradient(0.5) == 0
    assert gradient(1.0) == 4
