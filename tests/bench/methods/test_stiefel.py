import pytest
import torch
from torch import Tensor

from rgo_bench.methods.stiefel import cayley_step, orthonormalized

SHAPES = [(12, 5), (7, 7), (5, 12)]
EPS = torch.finfo(torch.float64).eps


def normal(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def point(seed: int, *shape: int) -> Tensor:
    return orthonormalized(normal(seed, *shape))


def skew(W: Tensor, G: Tensor) -> Tensor:
    half = G @ W.T - W @ (W.T @ G @ W.T) / 2
    return half - half.T


def step_length(W: Tensor, G: Tensor, lr: float) -> float:
    columns = [sum(abs(float(a)) for a in column) for column in skew(W, G).T]
    return min(lr, 1 / (max(columns) + 1e-8))


def gram(W: Tensor) -> Tensor:
    return W.T @ W if W.shape[0] >= W.shape[1] else W @ W.T


def dense_cayley(W: Tensor, G: Tensor, tau: float) -> Tensor:
    A, identity = skew(W, G), torch.eye(len(W), dtype=W.dtype)
    return torch.linalg.solve(identity + tau / 2 * A, (identity - tau / 2 * A) @ W)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_shorter_side_becomes_orthonormal(
    shape: tuple[int, int], dtype: torch.dtype
) -> None:
    W = normal(0, *shape).to(dtype)
    Q = orthonormalized(W)
    assert (Q.dtype, Q.shape) == (dtype, W.shape)
    identity = torch.eye(min(shape), dtype=dtype)
    rounding = 4 * max(shape) * torch.finfo(dtype).eps
    torch.testing.assert_close(gram(Q), identity, rtol=0, atol=rounding)


def test_the_span_and_the_sense_of_the_columns_are_kept() -> None:
    W = normal(0, 12, 5)
    Q = orthonormalized(W)
    torch.testing.assert_close(Q @ (Q.T @ W), W, rtol=0, atol=100 * EPS)
    R = Q.T @ W
    assert bool((torch.diagonal(R) > 0).all())
    torch.testing.assert_close(R.tril(-1), torch.zeros_like(R), rtol=0, atol=100 * EPS)


def test_what_is_orthonormal_stays_as_it_is() -> None:
    W = point(0, 12, 5)
    torch.testing.assert_close(orthonormalized(W), W, rtol=0, atol=20 * EPS)


@pytest.mark.parametrize("lr", [1e-3, 0.1, 100.0])
def test_the_step_is_the_rate_or_one_over_the_norm_of_the_dense_matrix(
    lr: float,
) -> None:
    W, G = point(0, 12, 5), normal(1, 12, 5)
    moved = W - cayley_step(W, G, lr, iterations=0)
    expected = step_length(W, G, lr) * skew(W, G) @ W
    torch.testing.assert_close(moved, expected, rtol=1e-12, atol=100 * EPS)


@pytest.mark.parametrize("shape", SHAPES[:2])
@pytest.mark.parametrize("lr", [0.01, 100.0])
def test_two_iterations_are_those_of_a_loop_with_the_dense_matrix(
    shape: tuple[int, int], lr: float
) -> None:
    W, G = point(0, *shape), normal(1, *shape)
    tau = step_length(W, G, lr)
    A = skew(W, G)
    Y = W - tau * A @ W
    for _ in range(2):
        Y = W - tau / 2 * A @ (W + Y)
    torch.testing.assert_close(cayley_step(W, G, lr), Y, rtol=0, atol=100 * EPS)


@pytest.mark.parametrize("shape", SHAPES[:2])
@pytest.mark.parametrize("lr", [0.01, 100.0])
def test_iterations_approach_the_cayley_transform_as_fast_as_promised(
    shape: tuple[int, int], lr: float
) -> None:
    W, G = point(0, *shape), normal(1, *shape)
    tau = step_length(W, G, lr)
    exact = dense_cayley(W, G, tau)
    factor = tau * float(torch.linalg.matrix_norm(skew(W, G), 2)) / 2
    assert factor <= 0.5
    for iterations in (0, 1, 2, 5, 60):
        Y = cayley_step(W, G, lr, iterations=iterations)
        missing = float(torch.linalg.matrix_norm(Y - exact, 2))
        # The first error is (tau A / 2)^2 (W + Y), and W and Y are orthonormal.
        assert missing <= 2 * factor ** (iterations + 2) + 100 * EPS


def test_many_steps_stay_on_the_manifold_as_far_as_two_iterations_go() -> None:
    W, target = point(0, 12, 5), normal(1, 12, 5)
    identity, bound = torch.eye(5, dtype=W.dtype), 0.0
    for _ in range(500):
        G = W - target
        tau = step_length(W, G, 0.05)
        factor = tau * float(torch.linalg.matrix_norm(skew(W, G), 2)) / 2
        missing = 2 * factor**4 * float(torch.linalg.matrix_norm(W, 2))
        # The transform itself keeps W^T W whatever W is.
        bound += 2 * missing * float(torch.linalg.matrix_norm(W, 2)) + missing**2
        bound += 100 * EPS
        W = cayley_step(W, G, 0.05)
        left = float(torch.linalg.matrix_norm(W.T @ W - identity, 2))
        assert left <= bound
    assert bound < 0.01


def test_a_short_step_descends_as_the_projected_gradient_promises() -> None:
    W, G = point(0, 12, 5), normal(1, 12, 5)
    lr = 1e-6
    change = float((G * (cayley_step(W, G, lr) - W)).sum())
    # A W is the projection of G onto the tangents, so that <G, A W> = |A W|^2.
    promised = -lr * float((skew(W, G) @ W).square().sum())
    assert change == pytest.approx(promised, rel=1e-4)
    assert promised < 0


def test_the_skew_matrix_turns_the_weights_along_the_tangents() -> None:
    W, G = point(0, 12, 5), normal(1, 12, 5)
    tangent = G - W @ (W.T @ G + G.T @ W) / 2
    torch.testing.assert_close(skew(W, G) @ W, tangent, rtol=0, atol=100 * EPS)
    lr = 1e-7
    moved = (W - cayley_step(W, G, lr)) / lr
    torch.testing.assert_close(moved, tangent, rtol=0, atol=1e-4)


def test_descent_ends_at_the_nearest_point_of_the_manifold() -> None:
    target = normal(1, 12, 5)
    U, _, V = torch.linalg.svd(target, full_matrices=False)
    W = point(0, 12, 5)
    for _ in range(3000):
        W = cayley_step(W, W - target, 0.05)
    expected = float((U @ V - target).norm())
    assert float((W - target).norm()) == pytest.approx(expected, rel=1e-2)


def test_without_a_gradient_nothing_moves() -> None:
    W = point(0, 12, 5)
    Y = cayley_step(W, torch.zeros_like(W), 0.1)
    torch.testing.assert_close(Y, W, rtol=0, atol=0)


def test_a_wide_matrix_is_moved_as_its_transpose() -> None:
    W, G = point(0, 5, 12), normal(1, 5, 12)
    expected = cayley_step(W.T, G.T, 0.1).T
    torch.testing.assert_close(cayley_step(W, G, 0.1), expected, rtol=0, atol=0)


def test_each_matrix_of_a_batch_has_a_step_of_its_own() -> None:
    W, G = point(0, 3, 12, 5), normal(1, 3, 12, 5)
    G[1] *= 1000
    together = cayley_step(W, G, 0.1)
    for i in range(3):
        alone = cayley_step(W[i], G[i], 0.1)
        torch.testing.assert_close(together[i], alone, rtol=0, atol=100 * EPS)


def test_no_argument_is_written_to_and_no_value_looked_at() -> None:
    W, G = point(0, 12, 5), normal(1, 12, 5)
    before = W.clone(), G.clone()
    cayley_step(W, G, 0.1)
    torch.testing.assert_close((W, G), before, rtol=0, atol=0)
    # Tensors without values raise where one is asked for.
    assert cayley_step(W.to("meta"), G.to("meta"), 0.1).shape == W.shape
