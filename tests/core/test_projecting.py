"""A projection applied to gradients and to their factors."""

import numpy as np
import pytest
from core.backends import Backend
from core.cases import SEEDS, normal
from core.tolerance import (
    assert_close,
)
from hypothesis import given
from hypothesis import strategies as st

from rgo_core import (
    project,
    project_factors,
)

AXES = pytest.mark.parametrize("axis", [-2, -1])


def symmetric(seed: int, *shape: int) -> np.ndarray:
    """Draw symmetric matrices."""
    matrices = normal(seed, *shape)
    return matrices + np.swapaxes(matrices, -1, -2)


@given(seed=SEEDS)
def test_projecting_multiplies_the_features(backend: Backend, seed: int) -> None:
    P, gradient = symmetric(seed, 4, 4), normal(seed + 1, 4, 3)
    expected = np.zeros((4, 3))
    for i, j, output in np.ndindex(4, 4, 3):
        expected[i, output] += P[i, j] * gradient[j, output]
    scale = float(np.linalg.norm(P) * np.linalg.norm(gradient))
    features_first = backend.call(project, P, gradient)
    features_last = backend.call(project, P, gradient.T, axis=-1)
    vector = backend.call(project, P, gradient[:, 0], axis=-1)
    assert_close(features_first, expected, scale=scale)
    assert_close(features_last, expected.T, scale=scale)
    assert_close(vector, expected[:, 0], scale=scale)


@AXES
def test_the_identity_projects_to_the_same_bits(backend: Backend, axis: int) -> None:
    gradient = normal(0, 4, 4)
    projected = backend.call(project, np.eye(4), gradient, axis=axis)
    np.testing.assert_array_equal(projected, gradient)


@AXES
@given(seed=SEEDS)
def test_groups_are_projected_as_in_a_loop(
    backend: Backend, axis: int, seed: int
) -> None:
    P, gradient = symmetric(seed, 2, 3, 4, 4), normal(seed + 1, 2, 3, 4, 4)
    together = backend.call(project, P, gradient, axis=axis)
    for group in np.ndindex(2, 3):
        alone = backend.call(project, P[group], gradient[group], axis=axis)
        assert_close(together[group], alone)


@AXES
@pytest.mark.parametrize("groups", [(), (3,), (1,), (2, 3), (2, 1)])
def test_a_projected_gradient_has_the_shape_of_the_gradient(
    backend: Backend, axis: int, groups: tuple[int, ...]
) -> None:
    P, gradient = symmetric(0, *groups, 4, 4), normal(1, 2, 3, 4, 4)
    inputs, gradients = normal(2, 2, 3, 6, 4), normal(3, 2, 3, 6, 4)
    projected = backend.call(project, P, gradient, axis=axis)
    product = backend.call(project_factors, P, inputs, gradients, axis=axis)
    shared = backend.call(project_factors, P, inputs[0, 0], gradients, axis=axis)
    assert projected.shape == product.shape == shared.shape == gradient.shape


@AXES
@given(sizes=st.sampled_from([(2, 5), (5, 5), (6, 3)]), seed=SEEDS)
def test_projecting_factors_is_projecting_their_product(
    backend: Backend, axis: int, sizes: tuple[int, int], seed: int
) -> None:
    rows, outputs = sizes
    P, inputs = symmetric(seed, 4, 4), normal(seed + 1, rows, 4)
    gradients = normal(seed + 2, rows, outputs)
    projected = backend.call(project_factors, P, inputs, gradients, axis=axis)
    product = inputs.T @ gradients
    whole = backend.call(project, P, product if axis == -2 else product.T, axis=axis)
    scale = float(np.prod([np.linalg.norm(x) for x in (P, inputs, gradients)]))
    assert_close(projected, whole, scale=scale)


@pytest.mark.parametrize(("rows", "outputs"), [(2, 5), (5, 5), (6, 3)])
def test_factors_are_projected_before_their_product_where_rows_are_fewer(
    backend: Backend, rows: int, outputs: int
) -> None:
    # A matrix N that is not symmetric shows the order: (X N)^T D or N (X^T D).
    N = np.asarray([[0.0, 1.0], [0.0, 0.0]])
    inputs, gradients = normal(0, rows, 2), normal(1, rows, outputs)
    shown = N.T if rows < outputs else N
    projected = backend.call(project_factors, N, inputs, gradients)
    assert_close(projected, shown @ (inputs.T @ gradients))


@AXES
@pytest.mark.parametrize("rows", [2, 5])
def test_groups_of_factors_are_projected_as_in_a_loop(
    backend: Backend, axis: int, rows: int
) -> None:
    P, inputs = symmetric(0, 2, 3, 4, 4), normal(1, 2, 3, rows, 4)
    gradients = normal(2, 2, 3, rows, 3)
    together = backend.call(project_factors, P, inputs, gradients, axis=axis)
    for group in np.ndindex(2, 3):
        parts = (P[group], inputs[group], gradients[group])
        alone = backend.call(project_factors, *parts, axis=axis)
        assert_close(together[group], alone)
