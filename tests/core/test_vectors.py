import itertools

import numpy as np
import pytest
from core.backends import Backend
from core.cases import SEEDS, normal, outer_sum
from core.tolerance import assert_close
from hypothesis import given
from hypothesis import strategies as st

from rgo_core import (
    bias_vectors,
    curvature_vectors,
    output_contrast,
    output_signs,
    reduce_outputs,
    score_cotangents,
)

PER = pytest.mark.parametrize("per", ["sample", "batch", "position"])
REDUCE = pytest.mark.parametrize("reduce", ["mean", "rms", "signs"])
# (cotangents, samples, positions, features, outputs)
SIZES = st.sampled_from(
    [
        (1, 1, 1, 2, 1),
        (1, 4, 1, 3, 2),
        (3, 4, 1, 5, 2),
        (1, 3, 4, 3, 2),
        (2, 3, 4, 5, 3),
    ]
)


def draw(seed: int, k: int, b: int, p: int, n: int, m: int) -> list[np.ndarray]:
    """Draw the inputs and output gradients of a layer."""
    return [normal(seed, b, p, n), normal(seed + 1, k, b, p, m)]


def layer_gradients(inputs: np.ndarray, gradients: np.ndarray, per: str) -> list:
    """Form every ``X_i^T D_ik``, or their sums over the samples, in full."""
    found = []
    for cotangent in gradients:
        pairs = zip(inputs, cotangent, strict=True)
        if per == "position":
            found += [
                np.outer(x, d) for X, D in pairs for x, d in zip(X, D, strict=True)
            ]
            continue
        each = [X.T @ D for X, D in pairs]
        found += each if per == "sample" else [sum(each)]
    return found


def curvature(gradients: list[np.ndarray], reduce: str) -> np.ndarray:
    """Sum g g^T over the gradients, their outputs reduced."""
    features, outputs = gradients[0].shape
    total = np.zeros((features, features))
    signs = output_signs(outputs) if reduce == "signs" else np.ones(outputs)
    for gradient in gradients:
        if reduce != "rms":
            mean = sum(signs[j] * gradient[:, j] for j in range(outputs)) / outputs
            total += np.outer(mean, mean)
        else:
            for j in range(outputs):
                total += np.outer(gradient[:, j], gradient[:, j]) / outputs
    return total


def size(inputs: np.ndarray, gradients: np.ndarray) -> float:
    """Bound the curvature, in which gradients may cancel."""
    return float(np.linalg.norm(inputs) * np.linalg.norm(gradients)) ** 2


@PER
@REDUCE
@given(sizes=SIZES, seed=SEEDS)
def test_vectors_sum_to_the_curvature_of_the_gradients(
    backend: Backend, per: str, reduce: str, sizes: tuple[int, ...], seed: int
) -> None:
    layer = draw(seed, *sizes)
    vectors = backend.call(curvature_vectors, *layer, per=per, reduce=reduce)
    expected = curvature(layer_gradients(*layer, per), reduce)
    assert_close(outer_sum(vectors), expected, scale=size(*layer))


@REDUCE
@given(seed=SEEDS)
def test_one_position_gives_one_vector_a_sample_along_its_input(
    backend: Backend, reduce: str, seed: int
) -> None:
    inputs, gradients = draw(seed, 3, 4, 1, 5, 2)
    vectors = backend.call(curvature_vectors, inputs, gradients, reduce=reduce)
    assert vectors.shape == (4, 5)
    for vector, sample in zip(vectors, inputs[:, 0], strict=True):
        along = sample * (vector @ sample) / (sample @ sample)
        assert_close(vector, along)


@pytest.mark.parametrize(
    ("sizes", "per", "reduce", "count"),
    [
        ((3, 4, 2, 5, 6), "sample", "mean", 3 * 4),
        ((3, 4, 2, 5, 6), "sample", "rms", 3 * 4 * 6),
        ((3, 4, 2, 5, 6), "batch", "mean", 3),
        ((3, 4, 2, 5, 6), "batch", "rms", 3 * 6),
        ((3, 4, 2, 5, 6), "sample", "signs", 3 * 4),
        ((3, 4, 2, 5, 6), "position", "mean", 4 * 2),
        ((3, 4, 2, 5, 6), "position", "rms", 4 * 2),
        ((3, 4, 1, 5, 6), "batch", "mean", 3),
        ((3, 1, 1, 5, 6), "batch", "rms", 1),
    ],
)
def test_there_are_as_few_vectors_as_the_sum_allows(
    backend: Backend, sizes: tuple[int, ...], per: str, reduce: str, count: int
) -> None:
    layer = draw(0, *sizes)
    vectors = backend.call(curvature_vectors, *layer, per=per, reduce=reduce)
    assert vectors.shape == (count, 5)


def test_one_vector_a_mini_batch_is_the_paper_s(backend: Backend) -> None:
    # g = mean over the outputs of d s / d W: equation 12 with one cotangent.
    inputs, gradients = draw(0, 1, 4, 2, 3, 5)
    vectors = backend.call(curvature_vectors, inputs, gradients, per="batch")
    flat = inputs.reshape(8, 3), gradients.reshape(8, 5)
    assert_close(vectors, np.mean(flat[0].T @ flat[1], axis=1)[None])


@PER
@REDUCE
@pytest.mark.parametrize("positions", [1, 2])
@given(seed=SEEDS)
def test_groups_have_the_vectors_of_a_loop(
    backend: Backend, per: str, reduce: str, positions: int, seed: int
) -> None:
    inputs = normal(seed, 2, 3, 4, positions, 5)
    gradients = normal(seed + 1, 2, 3, 2, 4, positions, 3)
    options = {"per": per, "reduce": reduce}
    together = backend.call(curvature_vectors, inputs, gradients, **options)
    for group in np.ndindex(2, 3):
        layer = inputs[group], gradients[group]
        alone = backend.call(curvature_vectors, *layer, **options)
        assert_close(together[group], alone, scale=size(*layer) ** 0.5)


@given(seed=SEEDS)
def test_exact_curvature_of_a_linear_classifier_is_its_gauss_newton_matrix(
    backend: Backend, seed: int
) -> None:
    # The average over the outputs of the blocks on the diagonal of the full matrix.
    inputs, logits = normal(seed, 4, 1, 5), normal(seed + 1, 4, 3)
    labels = np.zeros(4, dtype=np.int64)
    cotangents = backend.call(score_cotangents, logits, labels, curvature="exact")
    gradients = cotangents[:, :, None, :]
    vectors = backend.call(curvature_vectors, inputs, gradients, reduce="rms")
    expected = np.zeros((5, 5))
    for sample, scores in zip(inputs[:, 0], logits, strict=True):
        p = np.exp(scores) / np.sum(np.exp(scores))
        expected += np.outer(sample, sample) * np.mean(p * (1 - p))
    assert_close(outer_sum(vectors), expected)


@PER
@given(sizes=SIZES, seed=SEEDS)
def test_a_bias_has_its_gradients_for_vectors(
    backend: Backend, per: str, sizes: tuple[int, ...], seed: int
) -> None:
    _, gradients = draw(seed, *sizes)
    vectors = backend.call(bias_vectors, gradients, per=per)
    # A bias is a layer whose one input feature is one.
    ones = np.ones((*gradients.shape[1:3], 1))
    expected = [gradient[0] for gradient in layer_gradients(ones, gradients, per)]
    scale = float(np.linalg.norm(gradients)) * gradients.size**0.5
    assert_close(vectors, np.asarray(expected), scale=scale)


# --- signs


@pytest.mark.parametrize("outputs", [1, 2, 3, 4])
@given(seed=SEEDS)
def test_over_all_signs_the_outputs_own_sums_are_what_is_expected(
    backend: Backend, outputs: int, seed: int
) -> None:
    # E m^2 g g^T = sum_j G_j G_j^T, for small integers to the last bit.
    random = np.random.default_rng(seed)
    gradient = random.integers(-9, 10, size=(3, outputs)).astype(np.float64)
    total = np.zeros((3, 3))
    for signs in itertools.product([-1, 1], repeat=outputs):
        column = backend.call(
            reduce_outputs, gradient, reduce="signs", signs=np.asarray(signs)
        )
        scaled = np.rint(outputs * column)
        assert_close(outputs * column, scaled)
        total += scaled @ scaled.T
    np.testing.assert_array_equal(total / 2**outputs, gradient @ gradient.T)


def test_signs_see_outputs_whose_gradients_sum_to_zero(backend: Backend) -> None:
    # As before a LayerNorm.
    gradients = normal(0, 1, 4, 2, 6)
    gradients -= gradients.mean(axis=-1, keepdims=True)
    inputs = normal(1, 4, 2, 3)
    mean, signs, rms = (
        outer_sum(backend.call(curvature_vectors, inputs, gradients, reduce=reduce))
        for reduce in ("mean", "signs", "rms")
    )
    assert np.trace(mean) < 1e-25
    assert 0.1 < np.trace(signs) * 6 / np.trace(rms) < 10


@given(seed=SEEDS, cancels=st.booleans(), dtype=st.sampled_from(["float32", "float64"]))
def test_a_mean_is_a_contrast_only_where_it_cancels(
    backend: Backend, seed: int, cancels: bool, dtype: str
) -> None:
    gradients = normal(seed, 3, 4, 2, 6)
    if cancels:
        gradients -= gradients.mean(axis=-1, keepdims=True)
    gradients = gradients.astype(dtype)
    found = backend.call(reduce_outputs, gradients, reduce="uncancelled")
    weighted = gradients * output_contrast(6).astype(dtype) if cancels else gradients
    expected = backend.call(reduce_outputs, weighted, reduce="mean")
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("outputs", [2, 3, 4, 8, 64])
def test_no_two_outputs_cancel_behind_a_softmax_over_two(
    backend: Backend, outputs: int
) -> None:
    """As a router's, of which each token takes the two largest."""
    pairs = [(i, j) for i in range(outputs) for j in range(i)]
    gradients = np.zeros((1, len(pairs), 1, outputs))
    for row, (i, j) in enumerate(pairs):
        gradients[0, row, 0, [i, j]] = 1, -1
    found = backend.call(reduce_outputs, gradients, reduce="uncancelled")
    columns = found[0, :, 0, 0] * outputs
    assert np.abs(columns).min() >= np.sqrt(12 / (outputs * (outputs + 1))) - 1e-6
    # On average over the pairs, as much as the outputs by themselves have.
    assert np.mean(columns**2) == pytest.approx(2)


def test_signs_of_one_s_own_are_taken(backend: Backend) -> None:
    inputs, gradients = draw(0, 2, 4, 2, 3, 5)
    signs = np.asarray([1, -1, 1, 1, -1])
    found = backend.call(
        curvature_vectors, inputs, gradients, reduce="signs", signs=signs
    )
    expected = backend.call(curvature_vectors, inputs, gradients * signs)
    np.testing.assert_array_equal(found, expected)
    drawn = backend.call(curvature_vectors, inputs, gradients, reduce="signs")
    own = output_signs(5)
    again = backend.call(
        curvature_vectors, inputs, gradients, reduce="signs", signs=own
    )
    np.testing.assert_array_equal(drawn, again)


def test_positions_that_cancel_in_a_sample_do_not_by_themselves(
    backend: Backend,
) -> None:
    inputs, gradients = np.ones((1, 2, 3)), np.asarray([[[[1.0], [-1.0]]]])
    together = backend.call(curvature_vectors, inputs, gradients)
    np.testing.assert_array_equal(together, np.zeros((1, 3)))
    each = backend.call(curvature_vectors, inputs, gradients, per="position")
    np.testing.assert_array_equal(each, np.ones((2, 3)))


@pytest.mark.parametrize("size", [1e-4, 1e3])
def test_in_half_precision_squares_of_what_is_small_or_large_do_not_count(
    size: float,
) -> None:
    inputs, gradients = np.ones((3, 1, 4)), size * normal(0, 1, 3, 1, 5)
    exact = curvature_vectors(inputs, gradients)
    half = curvature_vectors(*(x.astype(np.float16) for x in (inputs, gradients)))
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, exact, rtol=0.02)


@pytest.mark.parametrize("positions", [1, 2])
@REDUCE
def test_in_half_precision_products_of_small_numbers_are_not_zero(
    positions: int, reduce: str
) -> None:
    inputs, gradients = draw(0, 1, 3, positions, 4, 5)
    small = (1e-3 * inputs).astype(np.float16), (1e-5 * gradients).astype(np.float16)
    found = curvature_vectors(*small, reduce=reduce)
    exact = curvature_vectors(*(x.astype(np.float64) for x in small), reduce=reduce)
    assert exact.any()
    np.testing.assert_allclose(found, exact, rtol=0.01, atol=1e-12)


@pytest.mark.parametrize("positions", [1, 2])
@pytest.mark.parametrize("wide", [0, 1])
def test_of_two_dtypes_the_wider_is_taken(
    backend: Backend, positions: int, wide: int
) -> None:
    both = list(draw(0, 2, 3, positions, 4, 5))
    both[1 - wide] = both[1 - wide].astype(np.float32)
    found = backend.call(curvature_vectors, *both)
    expected = backend.call(curvature_vectors, *(x.astype(np.float64) for x in both))
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float64


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("gradient", [[1.0, 1.0, 1.0], [1.0, -1.0, 0.0]])
def test_what_is_too_small_or_large_to_be_squared_does_not_cancel(
    backend: Backend, gradient: list[float], dtype: type
) -> None:
    far = {np.float32: 1e25, np.float64: 1e200}[dtype]
    for scale in (far, 1 / far):
        given = scale * np.asarray([gradient], dtype=dtype)
        (found,) = backend.call(reduce_outputs, given, reduce="uncancelled")
        assert 0.1 * scale < np.abs(found) < scale * 1.01
