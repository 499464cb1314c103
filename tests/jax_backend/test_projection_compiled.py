"""The transformation compiled, mapped, saved, and in an optimizer of Flax."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax import Array
from jax_backend.nets import (
    assert_same,
    count_traces,
    mlp_params,
    score,
)
from jax_backend.small_projections import batch, loss, moments_of

from rgo_jax import (
    curvature_vectors,
    empty_moments,
    end_task,
    observe,
    project_gradients,
    projection_state,
)


def test_it_compiles_once_for_all_tasks() -> None:
    params = mlp_params((3, 5, 4))
    optimizer = optax.chain(project_gradients(), optax.sgd(0.1))

    def train(params: Any, state: Any, batches: Any) -> Any:
        def step(carry: Any, batch: Any) -> Any:
            params, state = carry
            updates, state = optimizer.update(
                jax.grad(loss)(params, batch), state, params
            )
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, state), batches)[0]

    def end(state: Any, params: Any, moments: Any, batch: Any) -> Any:
        moments = observe(moments, curvature_vectors(score, params, batch))
        return end_task(state, moments), moments

    trained, train_traces = count_traces(train)
    ended, end_traces = count_traces(end)
    state = optimizer.init(params)
    moments = jax.tree.map(lambda leaf: leaf, moments_of(params))
    for task in range(3):
        batches = jax.tree.map(lambda *b: jnp.stack(b), *[batch(task), batch(9)])
        params, state = trained(params, state, batches)
        state, moments = ended(state, params, moments, batch(task))
        assert int(projection_state(state).tasks) == task + 1
    assert (len(train_traces), len(end_traces)) == (1, 1)


def test_it_works_mapped_over_seeds() -> None:
    def run(params: Any, data: Any) -> Any:
        optimizer = optax.chain(project_gradients(), optax.sgd(0.1))
        state = optimizer.init(params)
        moments: Any = {}
        for _ in range(2):
            updates, state = optimizer.update(jax.grad(loss)(params, data), state)
            params = optax.apply_updates(params, updates)
            moments = observe(moments, curvature_vectors(score, params, data))
            state = end_task(state, moments)
        updates, state = optimizer.update(jax.grad(loss)(params, data), state)
        return updates

    each = [(mlp_params((3, 5, 4), seed), batch(seed)) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    mapped, alone = jax.jit(jax.vmap(run))(*stacked), jax.jit(run)
    for index, case in enumerate(each):
        expected = alone(*case)
        jax.tree.map(
            lambda m, e, index=index: np.testing.assert_allclose(
                m[index], e, rtol=1e-4, atol=1e-6
            ),
            mapped,
            expected,
        )


def test_a_stack_of_states_is_refused_where_the_call_is_not_mapped() -> None:
    optimizer = optax.chain(project_gradients(), optax.sgd(0.1))
    each = [mlp_params((3, 5, 4), seed) for seed in range(3)]
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    states = jax.vmap(optimizer.init)(params)
    vectors = jax.vmap(curvature_vectors, (None, 0, None))(score, params, batch())
    moments = jax.vmap(observe)(jax.vmap(empty_moments)(params), vectors)
    message = r"the state of one network, got a stack of shape \(3,\), .* jax.vmap\("
    with pytest.raises(ValueError, match=message + "end_task"):
        end_task(states, moments)
    with pytest.raises(ValueError, match=message + "end_task"):
        jax.jit(end_task)(states, moments)
    with pytest.raises(ValueError, match=message + "optimizer.update"):
        optimizer.update(params, states, params)
    after = jax.vmap(end_task)(states, moments)
    jax.vmap(optimizer.update)(params, after, params)


@pytest.mark.filterwarnings("ignore:this task closes 0 of a direction")  # as before
@pytest.mark.parametrize("x64", [False, True])
def test_the_state_survives_a_file_of_arrays(x64: bool, tmp_path: Any) -> None:
    with jax.enable_x64(x64):
        params = mlp_params((3, 5, 4), dtype=jnp.float32)
        optimizer = optax.chain(project_gradients(), optax.sgd(0.1, momentum=0.9))
        moments = moments_of(params)
        before = end_task(optimizer.init(params), moments), moments
        leaves, structure = jax.tree.flatten(before)
        np.savez(tmp_path / "state.npz", *leaves)
        with np.load(tmp_path / "state.npz") as file, jax.enable_x64(True):
            read = [jnp.asarray(file[f"arr_{i}"]) for i in range(len(leaves))]
        after = jax.tree.unflatten(structure, read)
        assert_same(after, before)
        assert_same(end_task(*after), end_task(*before))


def test_it_serves_an_optimizer_of_flax() -> None:
    model = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
    base = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
    x, y = batch()

    def value(model: nnx.Linear) -> Array:
        return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

    chain = optax.chain(project_gradients(), optax.sgd(0.1))
    ours = nnx.Optimizer(model, chain, wrt=nnx.Param)
    plain = nnx.Optimizer(base, optax.sgd(0.1), wrt=nnx.Param)
    ours.update(model, nnx.grad(value)(model))
    plain.update(base, nnx.grad(value)(base))
    np.testing.assert_array_equal(model.kernel[...], base.kernel[...])
