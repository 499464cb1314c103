import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax_backend import jax_routes as routes
from jax_backend.nets import assert_same, draw

from rgo_jax import (
    empty_moments,
    end_task,
    load,
    observe,
    project_gradients,
    projection_state,
    save,
)

# The same second moments go on, for what is saved does not depend on them.
pytestmark = pytest.mark.filterwarnings("ignore:this task closes 0 of a direction")


def learned() -> Any:
    """Return parameters, an optimizer's state and moments of all forms after a task."""
    return routes.learned(routes.fresh(), 0)


@pytest.mark.parametrize("x64", [False, True])
def test_a_file_keeps_the_whole_state_to_the_last_bit(
    tmp_path: Path, x64: bool
) -> None:
    before = learned()
    save(tmp_path / "state.npz", before)
    with jax.enable_x64(x64):
        after = load(tmp_path / "state.npz", routes.fresh())
    assert_same(after, before)
    assert_same(end_task(after[1], after[2]), end_task(before[1], before[2]))


def test_a_file_keeps_half_precision(tmp_path: Path) -> None:
    before = {"w": jnp.asarray([1.5, 2.5], jnp.bfloat16)}
    save(tmp_path / "half.npz", before)
    assert_same(load(tmp_path / "half.npz", before), before)


def test_a_file_keeps_numbers_of_pythons_as_such(tmp_path: Path) -> None:
    before = {"w": jnp.ones(2), "tasks": 3, "rate": 0.1, "done": True}
    save(tmp_path / "numbers.npz", before)
    fresh = {"w": jnp.zeros(2), "tasks": 0, "rate": 0.0, "done": False}
    after = load(tmp_path / "numbers.npz", fresh)
    assert_same(after.pop("w"), before.pop("w"))
    assert after == before
    assert [type(number) for number in after.values()] == [bool, float, int]
    with pytest.raises(ValueError, match=r"tasks.*: expected float64 .*, got int64"):
        load(tmp_path / "numbers.npz", fresh | {"tasks": 0.0})


def test_a_leaf_that_is_no_number_is_refused_and_no_file_is_written(
    tmp_path: Path,
) -> None:
    message = "name.*: expected a tree of arrays and numbers, got a str"
    with pytest.raises(TypeError, match=message):
        save(tmp_path / "odd.npz", {"name": "x"})
    with pytest.raises(TypeError, match="of arrays and numbers, got a ndarray"):
        save(tmp_path / "odd.npz", {"name": np.asarray([None])})
    assert not (tmp_path / "odd.npz").exists()
    save(tmp_path / "state.npz", {"name": jnp.ones(2)})
    with pytest.raises(TypeError, match=message):
        load(tmp_path / "state.npz", {"name": "x"})


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({"v": jnp.ones(2)}, r"the 1 arrays of `like`, got none of .*'v'.*, but .*'w'"),
        ({n: jnp.ones(2) for n in "wabcde"}, "'a'.*'b'.*'c'.* and 2 more$"),
        ({}, r"the 0 arrays of `like`, got .*'w'"),
        ({"w": jnp.ones(3)}, r"w.*: expected float32 of shape \(3,\), got float32 of"),
        ({"w": jnp.ones(2, int)}, r"w.*: expected int32 .*, got float32 of shape"),
    ],
)
def test_a_file_of_another_state_is_refused(
    tmp_path: Path, like: Any, message: str
) -> None:
    save(tmp_path / "state.npz", {"w": jnp.ones(2)})
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "state.npz", like)


@pytest.mark.filterwarnings("ignore")  # Orbax's own
def test_another_process_goes_on_to_the_same_numbers_by_every_route(
    tmp_path: Path,
) -> None:
    pytest.importorskip("orbax.checkpoint")
    pytest.importorskip("flax.serialization")
    before = learned()
    for write, _ in routes.ROUTES.values():
        write(tmp_path, before)
    script = [sys.executable, "-m", "jax_backend.jax_routes", str(tmp_path)]
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    subprocess.run(script, check=True, env={**os.environ, "PYTHONPATH": path})
    expected = routes.learned(before, 1)
    for route in routes.ROUTES:
        assert_same(load(tmp_path / f"{route}-after.npz", expected), expected)


@pytest.mark.parametrize("name", ["kernel", "conv/kernel"])
def test_the_bytes_of_flax_keep_which_damping_was_measured(name: str) -> None:
    serialization = pytest.importorskip("flax.serialization")
    kernel = jnp.ones((6, 3) if name == "kernel" else (2, 3, 3))
    fresh = optax.chain(project_gradients(), optax.sgd(0.1)).init({name: kernel})
    moments = observe({}, {name: draw((4, 6))})
    state = end_task(fresh, moments)
    again = serialization.from_bytes(fresh, serialization.to_bytes(state))
    assert jax.tree.structure(again) == jax.tree.structure(state)
    assert_same(end_task(again, moments), end_task(state, moments))


def test_equinox_rounds_moments_unless_they_are_of_numpy(tmp_path: Path) -> None:
    eqx = pytest.importorskip("equinox")
    path, state = tmp_path / "run.eqx", project_gradients().init({"w": jnp.eye(6)})
    moments = observe({}, {"w": draw((4, 6))})
    eqx.tree_serialise_leaves(path, (state, moments))
    with pytest.raises(RuntimeError, match="from float64 in `like` to float32"):
        eqx.tree_deserialise_leaves(path, (state, moments))
    kept = state, jax.device_get(moments)
    eqx.tree_serialise_leaves(path, kept)
    again = eqx.tree_deserialise_leaves(path, kept)
    assert_same(end_task(*again), end_task(state, moments))


def test_moments_go_on_as_numpy_arrays() -> None:
    _, state, moments = learned()
    host = pickle.loads(pickle.dumps(jax.device_get(moments)))
    assert isinstance(host["dense/kernel"].matrix, np.ndarray)
    vectors = {"dense/kernel": draw((5, 6), 7)}
    assert_same(
        observe(host, vectors)["dense/kernel"].matrix,
        observe(moments, vectors)["dense/kernel"].matrix,
    )
    assert_same(end_task(state, host), end_task(state, moments))


def test_a_compiled_function_takes_moments_put_on_the_device_in_float64() -> None:
    _, state, moments = learned()
    host = jax.device_get(moments)
    compiled = jax.jit(end_task)
    with pytest.raises(TypeError, match="an argument of a compiled function"):
        compiled(state, host)
    with jax.enable_x64(True):
        again = jax.device_put(host)
    assert_same(compiled(state, again), compiled(state, moments))


def test_an_ill_conditioned_moment_of_numpy_is_not_rounded() -> None:
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    rows = np.random.default_rng(1).normal(size=(200, 6)) * np.logspace(3, -3, 6)
    state = project_gradients().init({"kernel": jnp.ones((6, 3))})
    moments = observe({}, {"kernel": jnp.asarray(rows @ turned.T, jnp.float32)})
    found = end_task(state, jax.device_get(moments))
    assert bool(jnp.isfinite(found.weights["kernel"]).all())
    assert_same(found, end_task(state, moments))


def test_a_rounded_moment_is_refused_with_the_way_to_keep_it() -> None:
    moments = observe({}, {"kernel": jnp.ones((4, 3))})
    rounded = pickle.loads(pickle.dumps(moments))
    state = project_gradients().init({"kernel": jnp.ones((3, 2))})
    message = "kernel: expected a second moment in float64, got .* by rgo_jax.save"
    with pytest.raises(TypeError, match=message):
        end_task(state, rounded)
    with pytest.raises(TypeError, match=message):
        observe(rounded, {"kernel": jnp.ones((4, 3))})


def test_a_damping_too_small_is_refused_eagerly_and_nan_compiled() -> None:
    rows = draw((3, 6)) * 1e6
    moments = observe({}, {"kernel": rows})
    state = project_gradients().init({"kernel": jnp.ones((6, 3))})
    with pytest.raises(ValueError, match=r"damping = 1e-06 is too small for a second"):
        end_task(state, moments, damping=1e-6)
    compiled = jax.jit(lambda state, moments: end_task(state, moments, damping=1e-6))
    assert bool(jnp.isnan(compiled(state, moments).weights["kernel"]).all())
    # As constants of a compiled function they cannot be looked at either.
    constant = jax.jit(lambda: end_task(state, moments, damping=1e-6))
    assert bool(jnp.isnan(constant().weights["kernel"]).all())


def test_an_optimizer_of_flax_takes_the_new_state_and_projects() -> None:
    nnx = pytest.importorskip("flax.nnx")
    model = nnx.Linear(6, 4, rngs=nnx.Rngs(0))
    chain = optax.chain(project_gradients(), optax.sgd(0.1))
    optimizer = nnx.Optimizer(model, chain, wrt=nnx.Param)
    params = nnx.state(model, nnx.Param)
    plain = chain.init(params)
    moments = observe(empty_moments(params), {"kernel": jnp.eye(6)[:2] * 1e3})
    x = draw((8, 6))

    @nnx.jit
    def step(model: Any, optimizer: Any) -> Any:
        gradients = nnx.grad(lambda model: (model(x) ** 2).mean())(model)
        optimizer.update(model, gradients)
        return gradients

    step(model, optimizer)
    optimizer.opt_state = end_task(optimizer.opt_state, moments)
    plain = end_task(plain, moments)
    assert int(projection_state(optimizer.opt_state).tasks) == 1
    assert_same(projection_state(optimizer.opt_state), projection_state(plain))
    before = model.kernel[...]
    gradients = step(model, optimizer)
    updates, _ = chain.update(gradients, plain)
    np.testing.assert_allclose(
        model.kernel[...] - before, updates["kernel"][...], rtol=1e-4, atol=1e-7
    )
    # Two inputs are of an old task, whose weights hardly move.
    moved = jnp.abs(model.kernel[...] - before).max(axis=1)
    assert float(moved[:2].max()) < 1e-4 * float(moved[2:].min())
    optimizer.opt_state = end_task(optimizer.opt_state, moments)
    step(model, optimizer)
