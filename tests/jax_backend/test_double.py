import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from rgo_jax.double import in_double

THIRD = np.float32(1) / np.float32(3)


@in_double
def add_square(total: Array, part: Array) -> Array:
    """Add a square that float32 would round away."""
    return total + part.astype(jnp.float64) ** 2


def zeros(*shape: int) -> Array:
    with jax.enable_x64(True):
        return jnp.zeros(shape, jnp.float64)


def scanned(total: Array, parts: Array) -> Array:
    return jax.lax.scan(lambda c, p: (add_square(c, p), None), total, parts)[0]


EXACT = np.float64(THIRD) ** 2


@pytest.mark.parametrize("x64", [False, True])
def test_it_is_float64_alone_compiled_and_scanned(x64: bool) -> None:
    with jax.enable_x64(x64):
        part, parts = jnp.float32(THIRD), jnp.full(3, THIRD, jnp.float32)
        for function in (add_square, jax.jit(add_square)):
            total = function(zeros(), part)
            assert total.dtype == jnp.float64
            assert float(np.asarray(total)) == EXACT
        total = jax.jit(scanned)(zeros(), parts)
        assert float(np.asarray(total)) == EXACT + EXACT + EXACT


@pytest.mark.parametrize("x64", [False, True])
def test_it_is_float64_mapped_in_every_nesting(x64: bool) -> None:
    with jax.enable_x64(x64):
        parts = jnp.full((2, 4, 3), THIRD, jnp.float32)
        functions = {
            "map of compiled": jax.vmap(jax.jit(add_square)),
            "compiled map": jax.jit(jax.vmap(add_square)),
            "map of map": jax.vmap(jax.vmap(add_square)),
        }
        for name, function in functions.items():
            total = function(zeros(2, 4), parts[..., 0])
            assert total.dtype == jnp.float64, name
            np.testing.assert_array_equal(total, np.full((2, 4), EXACT))
        mapped = jax.jit(jax.vmap(jax.vmap(scanned)))(zeros(2, 4), parts)
        assert mapped.dtype == jnp.float64
        np.testing.assert_array_equal(mapped, np.full((2, 4), EXACT + EXACT + EXACT))


def test_what_is_not_mapped_is_shared() -> None:
    parts = jnp.asarray([1.0, 2.0], jnp.float32)
    found = jax.vmap(add_square, in_axes=(None, 0))(zeros(), parts)
    np.testing.assert_array_equal(found, [1.0, 4.0])
    found = jax.vmap(add_square, in_axes=(0, None))(zeros(2), parts[1])
    np.testing.assert_array_equal(found, [4.0, 4.0])
