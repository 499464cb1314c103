from functools import partial
from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core.tolerance import assert_close
from hypothesis import given, settings
from jax import Array, lax
from jax_backend.nets import draw

from rgo_jax import conv, curvature_vectors, dense, tapped_vectors

# Few shapes: each is compiled.
SIZES = st.sampled_from([1, 3, 6])


@given(
    rows=SIZES,
    n=SIZES,
    m=SIZES,
    seed=st.integers(0, 2**16),
)
def test_a_dense_layer_projects_its_own_gradient(
    rows: int, n: int, m: int, seed: int
) -> None:
    with jax.enable_x64(True):
        x, kernel = draw((rows, n), seed), draw((n, m), seed + 1)
        projection = draw((n, n), seed + 2)
        projection = projection @ projection.T

        def value(x: Array, kernel: Array, P: Array | None) -> Array:
            return jnp.sin(dense(x, kernel, projection=P)).sum()

        gradients = jax.jit(jax.grad(value, (0, 1)))
        plain = gradients(x, kernel, None)
        found = gradients(x, kernel, projection)
        np.testing.assert_array_equal(
            dense(x, kernel, projection=projection), x @ kernel
        )
        assert_close(np.asarray(found[0]), np.asarray(plain[0]))
        scale = float(jnp.linalg.norm(projection) * jnp.linalg.norm(x)) * m
        expected = np.asarray(projection @ plain[1])
        assert_close(np.asarray(found[1]), expected, scale=scale)


@pytest.mark.parametrize("shape", [(2, 5), (5, 3)])
def test_the_identity_changes_no_bit(shape: tuple[int, int]) -> None:
    x, kernel = draw((shape[0], 4)), draw((4, shape[1]))

    def value(kernel: Array, P: Array | None) -> Array:
        return jnp.sin(dense(x, kernel, projection=P)).sum()

    # Not compiled as a whole, where two programs may be fused, and round, otherwise.
    plain = jax.grad(value)(kernel, None)
    np.testing.assert_array_equal(jax.grad(value)(kernel, jnp.eye(4)), plain)


def test_half_precision_is_projected_in_float32() -> None:
    x, kernel = draw((2, 4), dtype=jnp.bfloat16), draw((4, 3), dtype=jnp.bfloat16)
    projection = jnp.diag(jnp.asarray([1.0, 1e-3, 1.0, 1.0]))

    def value(kernel: Array) -> Array:
        return dense(x, kernel, projection=projection).astype(jnp.float32).sum()

    found = jax.jit(jax.grad(value))(kernel)
    assert found.dtype == jnp.bfloat16
    expected = projection @ (x.astype(jnp.float32).T @ jnp.ones((2, 3)))
    np.testing.assert_allclose(found.astype(jnp.float32), expected, rtol=2**-8)


# --- taps

CONVOLUTIONS = st.fixed_dictionaries(
    {
        "strides": st.sampled_from([(1, 1), (2, 1), (1, 3)]),
        "padding": st.sampled_from(["SAME", "VALID", ((1, 0), (2, 1))]),
        "dilation": st.sampled_from([(1, 1), (1, 2), (2, 1)]),
    }
)


@settings(max_examples=10)  # each compiles anew
@given(
    options=CONVOLUTIONS,
    kernel=st.sampled_from([(1, 1), (3, 2)]),
    channels=st.sampled_from([1, 2]),
    outputs=st.sampled_from([1, 3]),
    seed=st.integers(0, 2**16),
)
def test_a_convolutions_tap_is_the_gradient_of_each_sample(
    options: dict[str, Any],
    kernel: tuple[int, int],
    channels: int,
    outputs: int,
    seed: int,
) -> None:
    with jax.enable_x64(True):
        params = {
            "kernel": draw((*kernel, channels, outputs), seed),
            "bias": draw((outputs,), seed + 1),
        }
        x = draw((3, 7, 6, channels), seed + 2)

        def score(params: Any, x: Array) -> Array:
            maps = conv(x, params["kernel"], **options) + params["bias"]
            return jnp.sin(maps).sum((1, 2, 3))

        def tapped(taps: Any) -> Array:
            maps = conv(x, params["kernel"], tap=taps["kernel"], **options)
            maps += params["bias"] + taps["bias"][:, None, None]
            return jnp.sin(maps).sum((1, 2, 3))

        n = params["kernel"][..., 0].size
        taps = {"kernel": jnp.zeros((3, n)), "bias": jnp.zeros((3, outputs))}
        found = jax.jit(partial(tapped_vectors, tapped))(taps)
        vectors = jax.jit(partial(curvature_vectors, score))
        for path, rows in vectors(params, x).items():
            expected = np.asarray(rows)
            scale = 1 + np.linalg.norm(expected) + float(jnp.linalg.norm(x))
            assert_close(np.asarray(found[path]), expected, scale=50 * scale)


def test_a_convolution_is_that_of_lax() -> None:
    x, kernel = draw((2, 7, 6, 3)), draw((3, 2, 3, 4))
    expected = lax.conv_general_dilated(
        x, kernel, (2, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    found = conv(x, kernel, strides=(2, 1), padding="VALID")
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("k", [1, 3])
def test_a_dense_tap_is_the_gradient_of_each_sample(k: int) -> None:
    with jax.enable_x64(True):
        x, kernel, weights = draw((5, 4)), draw((4, 3)), draw((k, 3), seed=1)

        def scores(outputs: Array) -> Array:
            return jnp.einsum("bm,km->kb", jnp.sin(outputs), weights)

        def tapped(taps: Any) -> Array:
            return scores(dense(x, kernel, tap=taps["w"]))

        taps = {"w": jnp.zeros((5, 4))}
        found = jax.jit(partial(tapped_vectors, tapped))(taps)["w"]
        vectors = partial(curvature_vectors, lambda p, x: scores(x @ p["w"]))
        expected = jax.jit(vectors)({"w": kernel}, x)["w"]
        assert found.shape == (5 * k, 4)
        # The order of vectors differs, and does not matter.
        assert_close(np.asarray(found.T @ found), np.asarray(expected.T @ expected))


def test_shapes_that_do_not_fit_are_refused() -> None:
    x, kernel = jnp.ones((2, 3)), jnp.ones((3, 4))
    with pytest.raises(
        ValueError, match=r"expected inputs \(b, n\) and a kernel \(n, "
    ):
        dense(x, kernel.T)
    with pytest.raises(ValueError, match=r"projection must have shape \(3, 3\), got"):
        dense(x, kernel, projection=jnp.eye(4))
    with pytest.raises(ValueError, match=r"tap must have shape \(2, 3\), got \(2, 4\)"):
        dense(x, kernel, tap=jnp.ones((2, 4)))
    with pytest.raises(ValueError, match=r"tap must have shape \(2, 9\), got \(2, 3\)"):
        conv(jnp.ones((2, 5, 5, 1)), jnp.ones((3, 3, 1, 2)), tap=jnp.ones((2, 3)))


def test_a_dense_layer_may_take_inputs_in_half_precision() -> None:
    x, kernel, P = draw((4, 3)).astype(jnp.bfloat16), draw((3, 5), 1), draw((3, 3), 2)

    def value(x: Array, kernel: Array) -> Array:
        return dense(jax.nn.gelu(x), kernel, projection=P).sum()

    of_input, of_kernel = jax.grad(value, (0, 1))(x, kernel)
    assert (of_input.dtype, of_kernel.dtype) == (jnp.bfloat16, jnp.float32)
