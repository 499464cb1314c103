from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from jax_backend.nets import draw

import rgo_core
from rgo_jax import encode, make_encoding


@pytest.mark.parametrize("seed", [0, 3])
def test_the_permutations_are_those_of_every_backend(seed: int) -> None:
    encoding = make_encoding(7, tasks=5, name="hidden", seed=seed)
    for task in range(5):
        drawn = rgo_core.task_permutation(7, task=task, name="hidden", seed=seed)
        np.testing.assert_array_equal(encoding.permutations[task], drawn)
        np.testing.assert_array_equal(
            encoding.inverses[task], rgo_core.inverse_permutation(drawn)
        )


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_features_are_permuted_along_their_axis(axis: int) -> None:
    features = draw((6, 6, 6))
    encoding = make_encoding(6, tasks=3, name="hidden")
    for task in range(3):
        order = np.asarray(encoding.permutations[task])
        expected = np.take(np.asarray(features), order, axis=axis)
        found = encode(features, encoding, task, axis=axis)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("axis", [0, 1])
def test_its_gradient_is_that_of_plain_indexing(axis: int) -> None:
    features, weights = draw((5, 5)), draw((5, 5), seed=1)
    encoding = make_encoding(5, tasks=3, name="hidden")
    order = encoding.permutations[2]

    def value(features: Array) -> Array:
        return (jnp.tanh(encode(features, encoding, 2, axis=axis)) * weights).sum()

    def plain(features: Array) -> Array:
        return (jnp.tanh(features.take(order, axis=axis)) * weights).sum()

    # To the bit, and so not compiled: two programs may be fused otherwise.
    np.testing.assert_array_equal(jax.grad(value)(features), jax.grad(plain)(features))
    found, expected = (
        jax.jit(jax.jacrev(jax.grad(each)))(features) for each in (value, plain)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_it_is_differentiated_in_every_mode_like_plain_indexing() -> None:
    features, towards = draw((5,)), draw((5,), seed=1)
    encoding = make_encoding(5, tasks=3, name="hidden")
    order = encoding.permutations[2]

    def value(features: Array) -> Array:
        return (jnp.tanh(encode(features, encoding, 2)) ** 3 @ towards).sum()

    def plain(features: Array) -> Array:
        return (jnp.tanh(features[order]) ** 3 @ towards).sum()

    for mode in (
        lambda f: jax.jit(partial(jax.jvp, f))((features,), (towards,)),
        lambda f: jax.hessian(f)(features),
        lambda f: jax.jit(jax.hessian(f))(features),
        lambda f: jax.jit(jax.jacfwd(jax.vmap(f)))(jnp.stack([features, towards])),
        lambda f: jax.jit(jax.linearize(f, features)[1])(towards),
    ):
        for found, expected in zip(
            jax.tree.leaves(mode(value)), jax.tree.leaves(mode(plain)), strict=True
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_its_gradient_is_gathered_and_integers_pass() -> None:
    encoding = make_encoding(5, tasks=3, name="hidden")
    value = jax.grad(lambda x: (encode(x, encoding, 2) ** 2).sum())
    program = jax.jit(value).lower(draw((4, 5))).as_text()
    assert "gather" in program
    assert "scatter" not in program
    counted = encode(jnp.arange(5), encoding, 2)
    np.testing.assert_array_equal(counted, encoding.permutations[2])


def test_one_program_serves_every_task() -> None:
    encoding = make_encoding(6, tasks=4, name="hidden")
    features = draw((2, 6))
    traces = []

    @jax.jit
    def encoded(task: Array) -> Array:
        traces.append(1)
        return encode(features, encoding, task)

    for task in range(4):
        found = encoded(jnp.asarray(task))
        np.testing.assert_array_equal(found, encode(features, encoding, task))
    assert len(traces) == 1
    mapped = jax.vmap(lambda task: encode(features, encoding, task))(jnp.arange(4))
    np.testing.assert_array_equal(mapped[3], encode(features, encoding, 3))


@pytest.mark.parametrize("task", [-1, 3])
def test_a_task_outside_is_an_error_or_nan(task: int) -> None:
    encoding = make_encoding(4, tasks=3, name="hidden")
    for concrete in (task, np.int64(task), np.asarray(task), jnp.asarray(task)):
        with pytest.raises(
            ValueError, match=rf"task must be an integer, one of 0..2, got {task}"
        ):
            encode(jnp.ones(4), encoding, concrete)
        with pytest.raises(
            ValueError, match=rf"task must be an integer, one of 0..2, got {task}"
        ):
            jax.jit(lambda x, task=concrete: encode(x, encoding, task))(jnp.ones(4))
    found = jax.jit(lambda task: encode(jnp.ones(4), encoding, task))(jnp.asarray(task))
    assert np.isnan(np.asarray(found)).all()


def test_another_width_is_refused() -> None:
    encoding = make_encoding(4, tasks=2, name="hidden")
    with pytest.raises(ValueError, match=r"expected 4 channels along axis -1, got sha"):
        encode(jnp.ones((4, 3)), encoding, 0)
    with pytest.raises(ValueError, match=r"expected 4 channels along axis 2, got sha"):
        encode(jnp.ones((4, 4)), encoding, 0, axis=2)


def test_no_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"tasks must be an integer >= 1, got 0"):
        make_encoding(4, tasks=0, name="hidden")


def test_an_encoding_without_its_values_is_an_error_or_nan() -> None:
    encoding = make_encoding(4, tasks=2, name="hidden")
    emptied = jax.tree.map(jnp.zeros_like, encoding)
    message = "expected an encoding of permutations and their inverses, got other num"
    with pytest.raises(ValueError, match=message):
        encode(jnp.arange(4.0), emptied, 1)
    compiled = jax.jit(encode)
    assert np.isnan(np.asarray(compiled(jnp.arange(4.0), emptied, 1))).all()
    np.testing.assert_array_equal(
        compiled(jnp.arange(4.0), encoding, 1), encode(jnp.arange(4.0), encoding, 1)
    )
