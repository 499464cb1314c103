"""Theorem 3, local-global equivalence, and what encodings do to the cross terms.

For H of L layers' blocks and P of one block a layer,

    max_l sigma(P_l H_ll) <= sigma(P H) <= sum_l sigma(P_l H_ll) <= L max_l,

with equality on the left where the cross blocks H_lk vanish.
"""

import itertools

import numpy as np
from core.backends import Backend
from core.cases import SEEDS, Case, cases, normal
from core.tolerance import EIGENVALUE, ERROR, assert_close, unit
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import block_diag
from theorems.laws import LAW, positive, semidefinite

from rgo_core import (
    SecondMoment,
    consolidate,
    empty_moment,
    inverse_permutation,
    normalize,
    observe,
    optimal_projection,
    permute,
    project,
    projected_curvature,
    recursive_least_loss,
    task_permutation,
)

LAYERS = st.sampled_from(((2, 3), (3, 1), (2, 2, 2)))
CONDITION = 1e2
# The block of feature directions that two layers share, for n = 1 + 1 features.
SHARED = np.ones((2, 2))


def blocks(H: np.ndarray, widths: tuple[int, ...]) -> list[np.ndarray]:
    """Return the diagonal blocks H_ll."""
    ends = np.cumsum(widths)
    return [H[e - n : e, e - n : e] for n, e in zip(widths, ends, strict=True)]


def parts(vector: np.ndarray, widths: tuple[int, ...]) -> list[np.ndarray]:
    return np.split(vector, np.cumsum(widths)[:-1])


def least(H: np.ndarray) -> float:
    return len(H) / float(np.sum(1 / np.linalg.eigvalsh(H)))


def local_losses(
    backend: Backend, moved: np.ndarray, H: np.ndarray, widths: tuple[int, ...]
) -> float:
    pairs = zip(parts(moved, widths), blocks(H, widths), strict=True)
    return sum(
        float(backend.call(recursive_least_loss, part, 0 * part, block))
        for part, block in pairs
    )


@LAW
@given(seed=SEEDS, widths=LAYERS)
def test_the_global_loss_is_at_most_the_number_of_layers_times_the_local_ones(
    backend: Backend, seed: int, widths: tuple[int, ...]
) -> None:
    n = sum(widths)
    H, moved = semidefinite(seed, n, n), normal(seed + 1, n)
    whole = float(backend.call(recursive_least_loss, moved, np.zeros(n), H))
    local = local_losses(backend, moved, H, widths)
    slack = ERROR * unit() * np.linalg.norm(H) * (moved @ moved)
    assert whole <= len(widths) * local + slack


def test_the_number_of_layers_is_reached_where_layers_do_the_same(
    backend: Backend,
) -> None:
    moved = np.ones(2)
    whole = backend.call(recursive_least_loss, moved, np.zeros(2), SHARED)
    assert whole == 2 * local_losses(backend, moved, SHARED, (1, 1)) == 2


@LAW
@given(seed=SEEDS, widths=LAYERS)
def test_without_cross_terms_the_global_loss_is_the_sum_of_the_local_ones(
    backend: Backend, seed: int, widths: tuple[int, ...]
) -> None:
    n = sum(widths)
    H = block_diag(*blocks(semidefinite(seed, n, n), widths))
    moved = normal(seed + 1, n)
    whole = float(backend.call(recursive_least_loss, moved, np.zeros(n), H))
    slack = ERROR * unit() * np.linalg.norm(H) * (moved @ moved)
    assert abs(whole - local_losses(backend, moved, H, widths)) <= slack


@LAW
@given(seed=SEEDS, widths=LAYERS)
def test_the_global_objective_lies_between_the_largest_local_one_and_their_sum(
    backend: Backend, seed: int, widths: tuple[int, ...]
) -> None:
    H = semidefinite(seed, sum(widths), sum(widths))
    local_P = [normalize(positive(seed + i, n)) for i, n in enumerate(widths, 1)]
    whole = float(backend.call(projected_curvature, block_diag(*local_P), H))
    pairs = zip(local_P, blocks(H, widths), strict=True)
    local = [float(backend.call(projected_curvature, *pair)) for pair in pairs]
    slack = EIGENVALUE * unit() * max(widths) * np.linalg.norm(H)
    assert max(local) - slack <= whole <= sum(local) + slack


@LAW
@given(seed=SEEDS, widths=LAYERS)
def test_the_local_closed_forms_are_within_the_number_of_layers_of_the_global_optimum(
    backend: Backend, seed: int, widths: tuple[int, ...]
) -> None:
    H = positive(seed, sum(widths))
    local = [backend.call(optimal_projection, block) for block in blocks(H, widths)]
    reached = float(backend.call(projected_curvature, block_diag(*local), H))
    # No P of these layer traces has less than its worst layer's own optimum.
    optimum = max(least(block) for block in blocks(H, widths))
    other = [normalize(positive(seed + i, n)) for i, n in enumerate(widths, 1)]
    rival = float(backend.call(projected_curvature, block_diag(*other), H))
    slack = EIGENVALUE * unit(CONDITION) * reached
    assert optimum <= rival + slack
    assert optimum - slack <= reached <= len(widths) * optimum + slack
    alone = block_diag(*blocks(H, widths))
    without = float(backend.call(projected_curvature, block_diag(*local), alone))
    assert abs(without - optimum) <= slack


def test_with_cross_terms_the_local_closed_form_is_not_the_optimum(
    backend: Backend,
) -> None:
    # Layers of 2 and 1 features: P = I is both local optima, and meets 3/2.
    H = np.asarray([[1.0, 0.0, 0.5], [0.0, 1.0, 0.0], [0.5, 0.0, 1.0]])
    local = block_diag(*(optimal_projection(block) for block in blocks(H, (2, 1))))
    assert_close(local, np.eye(3))
    assert abs(backend.call(projected_curvature, local, H) - 1.5) <= ERROR * unit()
    better = np.diag([0.75, 1.25, 1.0])
    assert backend.call(projected_curvature, better, H) < 1.33


def test_with_one_trace_for_all_layers_the_local_closed_form_is_not_the_optimum(
    backend: Backend,
) -> None:
    # Layers of one feature each, without cross terms: a trace of their own leaves P
    # no choice; one common trace moves the step to the layer of less curvature.
    H = np.diag([1.0, 4.0])
    assert backend.call(projected_curvature, np.eye(2), H) == 4
    joint = backend.call(optimal_projection, H)
    assert abs(backend.call(projected_curvature, joint, H) - 1.6) <= 10 * unit()


@LAW
@given(seed=SEEDS, n=st.sampled_from((2, 3, 4)), columns=st.sampled_from((1, 3)))
def test_over_all_encodings_a_cross_term_averages_to_its_mean(
    backend: Backend, seed: int, n: int, columns: int
) -> None:
    cross = normal(seed, n, columns)
    block = backend.array(cross)
    every = list(itertools.permutations(range(n)))
    moved = [permute(block, backend.array(np.asarray(p)), axis=0) for p in every]
    average = sum(np.asarray(one) for one in moved) / len(every)
    expected = np.broadcast_to(np.mean(cross, axis=0), cross.shape)
    assert_close(average, expected, scale=float(np.linalg.norm(cross)) * n)


def test_over_tasks_centred_cross_terms_fade_and_the_mean_stays(
    backend: Backend,
) -> None:
    # T independent encodings, each changing the average by at most 2 |H| / T, and a
    # mean square of |H|^2 / T: McDiarmid leaves exp(-30) beyond this.
    tasks, n, m = 1000, 6, 5
    allowed = (1 + np.sqrt(2 * 30)) / np.sqrt(tasks)
    cross = normal(0, n, m)
    cross = backend.array(cross - np.mean(cross))
    total = np.zeros((n, m))
    for task in range(1, tasks + 1):
        rows = backend.array(task_permutation(n, task=task, name="first"))
        columns = backend.array(task_permutation(m, task=task, name="second"))
        total += np.asarray(permute(permute(cross, rows, axis=0), columns))
    assert np.linalg.norm(total) / tasks <= allowed * np.linalg.norm(np.asarray(cross))
    # A constant block, as of features that are all positive, is moved by none.
    same = permute(backend.array(np.ones((n, m))), rows, axis=0)
    assert np.all(np.asarray(same) == 1)


def test_rectified_features_keep_an_overlap_of_one_over_pi_under_any_encoding() -> None:
    # ReLU of a normal number: mean (2 pi)^-1/2, mean square 1/2.
    features = np.maximum(normal(0, 200_000), 0)
    overlap = len(features) * np.mean(features) ** 2 / np.sum(features**2)
    # The delta method: a deviation of 0.40 / sqrt(n); six of them.
    assert abs(overlap - 1 / np.pi) <= 6 * 0.4 / np.sqrt(len(features))


@LAW
@given(case=cases(((3, 5), (7, 2))), seed=SEEDS)
def test_the_projection_of_encoded_vectors_is_the_encoded_projection(
    backend: Backend, case: Case, seed: int
) -> None:
    n = case.features
    order = np.random.default_rng(seed).permutation(n)
    matrix = np.zeros((n, n))
    matrix[np.arange(n), order] = 1  # out[j] = in[order[j]]
    encoded = backend.call(permute, case.vectors, order)
    np.testing.assert_array_equal(encoded, case.vectors @ matrix.T)
    moment = observe(empty_moment(n, xp=backend.xp), backend.array(encoded))
    P = np.asarray(consolidate(moment, case.damping))
    expected = matrix @ case.projection @ matrix.T
    assert_close(P, expected, condition=case.condition)
    # And a gradient is projected where it lives: encode, project, decode.
    gradient = normal(seed, n)
    there = project(P, backend.call(permute, gradient, order), axis=-1)
    back = backend.call(permute, there, backend.call(inverse_permutation, order))
    plain = SecondMoment(case.damping * (case.information - np.eye(n)), np.asarray(1))
    here = project(consolidate(plain, case.damping), gradient, axis=-1)
    scale = float(np.linalg.norm(P, 2) * np.linalg.norm(gradient))
    assert_close(back, here, condition=case.condition, scale=scale)
