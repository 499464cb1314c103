"""Theorem 1, convergence-rate consistency, with Lemmas 4 and 5.

trace(P) = n and E[g g^T] = c I give E[g^T P g] = E[g^T g].
"""

import itertools
import math

import numpy as np
from core.backends import Backend
from core.cases import SEEDS, normal
from core.tolerance import ERROR, assert_close, unit
from hypothesis import given
from theorems.laws import LAW, WIDTHS, orthogonal, positive

from rgo_core import empty_moment, normalize, observe, project

CONDITIONS = (0.0, 3.0, 8.0)


def products(backend: Backend, P: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return ``g^T P g`` for each column, from the projected gradient."""
    return np.sum(vectors * backend.call(project, P, vectors), axis=0)


@LAW
@given(seed=SEEDS, n=WIDTHS)
def test_lemma_4_over_an_orthogonal_basis_a_quadratic_form_averages_to_trace_over_n(
    backend: Backend, seed: int, n: int
) -> None:
    A = normal(seed, n, n)  # symmetric or not
    averaged = np.mean(products(backend, A, orthogonal(seed + 1, n)))
    scale = float(np.linalg.norm(A)) * n
    assert_close(averaged, np.asarray(np.trace(A) / n), scale=scale)


def test_lemma_5_all_sign_vectors_are_isotropic(backend: Backend) -> None:
    for n in (1, 2, 5):
        signs = np.asarray(list(itertools.product((-1.0, 1.0), repeat=n)))
        moment = observe(empty_moment(n, xp=backend.xp), backend.array(signs))
        mean = np.asarray(moment.matrix) / len(signs)
        np.testing.assert_array_equal(mean, np.eye(n))


@LAW
@given(seed=SEEDS, n=WIDTHS)
def test_over_an_orthogonal_basis_projected_steps_are_as_long_as_plain_ones(
    backend: Backend, seed: int, n: int
) -> None:
    for log_condition in CONDITIONS:
        P = backend.call(normalize, positive(seed, n, log_condition))
        found = np.mean(products(backend, P, orthogonal(seed + 1, n)))
        assert abs(found - 1) <= ERROR * unit() * n


@LAW
@given(seed=SEEDS, n=WIDTHS)
def test_over_all_sign_vectors_projected_steps_are_as_long_as_plain_ones(
    backend: Backend, seed: int, n: int
) -> None:
    signs = np.asarray(list(itertools.product((-1.0, 1.0), repeat=n))).T
    P = backend.call(normalize, positive(seed, n))
    found = np.mean(products(backend, P, signs))
    assert abs(found - n) <= ERROR * unit() * n * n


@LAW
@given(seed=SEEDS, n=WIDTHS)
def test_by_sampling_the_mean_lies_within_its_concentration_bound(
    backend: Backend, seed: int, n: int
) -> None:
    # Laurent and Massart (2000), lemma 1: for normal g the mean of N values of g^T P g
    # is off by more than 2 |P|_F sqrt(s / N) + 2 |P|_2 s / N in 2 exp(-s) of cases.
    samples, s = 2000, 30.0
    P = backend.call(normalize, positive(seed, n))
    found = np.mean(products(backend, P, normal(seed + 1, n, samples)))
    frobenius, largest = np.linalg.norm(P), np.linalg.norm(P, 2)
    allowed = 2 * frobenius * math.sqrt(s / samples) + 2 * largest * s / samples
    assert abs(found - n) <= allowed


@LAW
@given(seed=SEEDS, n=WIDTHS)
def test_without_normalisation_steps_become_shorter_by_the_mean_eigenvalue(
    backend: Backend, seed: int, n: int
) -> None:
    raw = positive(seed, n)
    found = np.mean(products(backend, raw, orthogonal(seed + 1, n)))
    expected = np.mean(np.linalg.eigvalsh(raw))
    assert abs(found - expected) <= ERROR * unit() * n


def test_of_gradients_that_are_not_isotropic_it_is_false(backend: Backend) -> None:
    P = backend.call(normalize, np.diag([1.0, 3.0]))
    assert products(backend, P, np.asarray([[1.0], [0.0]])) == 0.5
    assert products(backend, P, np.asarray([[0.0], [1.0]])) == 1.5
