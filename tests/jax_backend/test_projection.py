"""The transformation of optax, and the end of a task."""

from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from core.tolerance import assert_close
from hypothesis import given
from jax import Array
from jax_backend.nets import assert_same, draw, mlp_params
from jax_backend.small_projections import batch, gradient, moments_of, observed

import rgo_core
from rgo_core import Relative
from rgo_core.damping import Damping
from rgo_jax import (
    Axes,
    Layout,
    ProjectionState,
    dense,
    empty_moments,
    end_task,
    find_layout,
    observe,
    project_gradients,
    projection_state,
)

OPTIMIZERS = {
    "sgd": lambda: optax.sgd(0.1),
    "momentum": lambda: optax.sgd(0.1, momentum=0.9, nesterov=True),
    "adam": lambda: optax.adam(0.01),
}


def numbers(leaf: Any) -> np.ndarray:
    return np.asarray(leaf, np.float64)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("after", [False, True])
def test_the_identity_is_the_base_optimizer_bit_for_bit(make: Any, after: bool) -> None:
    params = mlp_params((3, 5, 4))
    chain = [make(), project_gradients()]
    ours, base = optax.chain(*(chain if after else chain[::-1])), make()
    mine, plain = params, params
    state, plain_state = ours.init(params), base.init(params)
    for seed in range(3):
        updates, state = ours.update(gradient(mine, batch(seed)), state, mine)
        mine = optax.apply_updates(mine, updates)
        updates, plain_state = base.update(
            gradient(plain, batch(seed)), plain_state, plain
        )
        plain = optax.apply_updates(plain, updates)
    assert_same(mine, plain)


def test_extra_arguments_are_ignored() -> None:
    params = mlp_params((3, 4))
    transformation = project_gradients()
    state = end_task(transformation.init(params), moments_of(params))
    gradients = gradient(params, batch())
    plain = transformation.update(gradients, state)
    more = transformation.update(gradients, state, params, value=3.0, unheard="of")
    assert_same(plain, more)


def test_masked_leaves_are_untouched() -> None:
    params = mlp_params((3, 5, 4))
    mask = {"layer0": True, "layer1": {"kernel": False, "bias": True}}
    transformation = optax.masked(project_gradients(), mask)
    state = transformation.init(params)
    assert set(projection_state(state).weights) == {"layer0/kernel"}
    moments = moments_of(params)
    del moments["layer1/kernel"]
    moments = {p: m for p, m in moments.items() if p in paths(projection_state(state))}
    state = end_task(state, moments)
    gradients = gradient(params, batch())
    updates, _ = transformation.update(gradients, state, params)
    assert_same(updates["layer1"]["kernel"], gradients["layer1"]["kernel"])
    assert not np.allclose(updates["layer0"]["kernel"], gradients["layer0"]["kernel"])


ATTENTION = {"kernel": draw((3, 2, 4)), "bias": draw((2, 4))}


@pytest.mark.parametrize("frozen", ["kernel", "bias"])
@pytest.mark.parametrize("params", [mlp_params((3, 4))["layer0"], ATTENTION])
def test_an_update_of_none_leaves_the_others_as_they_were(
    params: dict[str, Array], frozen: str
) -> None:
    transformation = project_gradients()
    vectors = {path: leaf.reshape(-1, 1).T for path, leaf in params.items()}
    vectors["kernel"] = draw((1, 3), seed=1)
    state = end_task(transformation.init(params), observe({}, vectors))
    whole, _ = transformation.update(params, state)
    part, _ = transformation.update({**params, frozen: None}, state)
    assert_same(part, {**whole, frozen: None})
    nothing = dict.fromkeys(params)
    assert transformation.update(nothing, state)[0] == nothing


def paths(state: ProjectionState) -> set[str]:
    return {*state.weights, *state.biases}


@given(seed=st.integers(0, 2**16), tasks=st.integers(1, 3))
def test_gradients_are_projected_as_the_core_does(seed: int, tasks: int) -> None:
    with jax.enable_x64(True):
        params = mlp_params((3, 5, 4), seed)
        transformation = project_gradients()
        state, moments = transformation.init(params), {}
        for task in range(tasks):
            moments = observed(moments, params, batch(seed + task))
            options: Any = {"damping": 0.1, "normalize": "weights"}
            state = end_task(state, moments, **options)
        gradients = gradient(params, batch(seed))
        updates, _ = transformation.update(gradients, state)
        for path, moment in moments.items():
            layer, name = path.split("/")
            matrix = numbers(gradients[layer][name])
            host = rgo_core.SecondMoment(*map(np.asarray, moment))
            weight = name == "kernel"
            P = rgo_core.consolidate(host, 0.1, normalized=weight)
            expected = P @ matrix
            condition = 10 * len(P)
            scale = np.linalg.norm(P) * np.linalg.norm(matrix)
            assert_close(
                numbers(updates[layer][name]),
                expected,
                condition=condition,
                scale=scale,
            )


@pytest.mark.parametrize("damping", [0.5, Relative(0.5)])
@pytest.mark.parametrize("normalize", ["weights", "all", "none"])
def test_options_are_those_of_the_core(damping: Damping, normalize: Any) -> None:
    params = mlp_params((3, 4))
    moments = moments_of(params)
    state = end_task(
        project_gradients().init(params),
        moments,
        damping=damping,
        normalize=normalize,
    )
    for path, found in {**state.weights, **state.biases}.items():
        host = rgo_core.SecondMoment(*map(np.asarray, moments[path]))
        scaled = {"weights": path.endswith("kernel"), "all": True, "none": False}
        expected = rgo_core.consolidate(host, damping, normalized=scaled[normalize])
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_options_by_their_old_names_warn_where_they_are_used_and_do_the_same() -> None:
    params = mlp_params((3, 4))
    moments, state = moments_of(params), project_gradients().init(params)
    with pytest.warns(DeprecationWarning, match="is now") as found:
        old = end_task(state, moments, damping=0.5, relative=True, biases="normalized")
    assert {warning.filename for warning in found} == {__file__}
    assert len(found) == 2
    new = end_task(state, moments, damping=Relative(0.5), normalize="all")
    jax.tree.map(np.testing.assert_array_equal, old, new)
    message = "biases is the old name of normalize: give the new one alone"
    with pytest.raises(TypeError, match=message):
        end_task(state, moments, biases="raw", normalize="all")


def test_axes_of_every_convention_are_projected_along_the_inputs() -> None:
    kernel = draw((2, 3, 4, 5))
    rows = draw((1, 24), seed=1)
    stored = {
        "flax": (kernel, Axes((0, 1, 2), (3,)), rows),
        "equinox": (
            kernel.transpose(3, 2, 0, 1),
            Axes((1, 2, 3), (0,)),
            rows.reshape(1, 2, 3, 4).transpose(0, 3, 1, 2).reshape(1, 24),
        ),
    }
    found = {}
    for name, (leaf, axes, vectors) in stored.items():
        transformation = project_gradients(Layout({"w": axes}, {}))
        state = end_task(
            transformation.init({"w": leaf}), observe({}, {"w": vectors}), damping=0.1
        )
        updates, _ = transformation.update({"w": leaf}, state)
        found[name] = updates["w"]
    back = found["equinox"].transpose(2, 3, 1, 0)
    np.testing.assert_allclose(back, found["flax"], rtol=1e-5, atol=1e-6)


def test_factored_gradients_are_not_projected_twice() -> None:
    params = mlp_params((3, 4))
    moments = moments_of(params)
    direct, factored = (
        project_gradients(),
        project_gradients(factored=["layer0/kernel"]),
    )
    x, y = batch()
    state = end_task(factored.init(params), moments)
    P = projection_state(state).weights["layer0/kernel"]

    def through(params: Any) -> Array:
        layer = params["layer0"]
        logits = dense(x, layer["kernel"], projection=P) + layer["bias"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    found, _ = factored.update(jax.jit(jax.grad(through))(params), state)
    expected, _ = direct.update(
        gradient(params, (x, y)), end_task(direct.init(params), moments)
    )
    jax.tree.map(
        lambda f, e: np.testing.assert_allclose(f, e, rtol=1e-5, atol=1e-7),
        found,
        expected,
    )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_has_projections_in_float32(dtype: Any) -> None:
    params = mlp_params((3, 4), dtype=dtype)
    transformation = project_gradients()
    with pytest.warns(UserWarning, match="trained in .*float16, where each step is"):
        fresh = transformation.init(params)
    state = end_task(fresh, moments_of(mlp_params((3, 4))))
    updates, _ = transformation.update(params, state)
    assert all(P.dtype == jnp.float32 for P in state.weights.values())
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(updates))


def test_second_moments_of_the_last_task_alone_are_warned_of() -> None:
    params = mlp_params((3, 5, 4))
    one, both, three = (moments_of(params, seeds=count) for count in (1, 2, 3))
    state = end_task(project_gradients().init(params), one)
    state = end_task(state, both)
    message = "layer0/bias, layer0/kernel, .* protection is lost; expected those of all"
    with pytest.warns(UserWarning, match=message):
        end_task(state, one)
    # What was not observed again has the projection it had.
    end_task(state, {"layer0/kernel": three["layer0/kernel"]})


def test_second_moments_to_which_nothing_was_added_are_warned_of() -> None:
    params = mlp_params((3, 5, 4))
    moments = moments_of(params)
    state = end_task(project_gradients().init(params), moments)
    message = (
        "closes 0 of a direction in layer.*softmax_score.*curvature='floored'.*Or the "
        "second moments are those of the last task: observe leaves"
    )
    with pytest.warns(UserWarning, match=message):
        end_task(state, moments)
    with pytest.warns(UserWarning, match="closes 0 of a direction"):
        end_task(state, {"layer0/kernel": moments["layer0/kernel"]})
    jax.jit(end_task)(state, moments)  # values are not known
    # Of biases alone nothing is told.
    end_task(state, {"layer0/bias": moments["layer0/bias"]})


@pytest.mark.filterwarnings("error")
def test_a_state_made_anew_projects_once_it_is_given_all_second_moments() -> None:
    params = mlp_params((3, 5, 4))
    optimizer = optax.chain(optax.adam(0.1), project_gradients())
    anew, moments = optimizer.init(params), moments_of(params, seeds=2)
    state = end_task(end_task(anew, moments_of(params)), moments)
    gradients = gradient(params, batch())
    expected, plain, held = (
        optimizer.update(gradients, each, params)[0]["layer0"]["kernel"]
        for each in (state, anew, end_task(anew, moments))
    )
    assert_same(held, expected)
    assert jnp.abs(plain - held).max() > 0.01


def test_a_sketch_that_shrinks_loses_nothing() -> None:
    wide = {"kernel": jnp.ones((8, 2))}
    layout = find_layout(wide, max_features=4, sketch_rows=2)
    moments, state = empty_moments(wide, layout), project_gradients(layout).init(wide)
    for task in range(4):  # more directions than it has rows
        rows = 3.0 * jnp.eye(8)[2 * task : 2 * task + 2]
        moments = observe(moments, {"kernel": rows})
        state = end_task(state, moments, damping=Relative(0.1))
    assert float(projection_state(state).traces["kernel"]) == 4 * 2 * 9.0


def test_a_relative_damping_of_a_table_counts_in_units_of_the_words_met() -> None:
    params = {"embed": {"embedding": jnp.ones((6, 3))}, "norm": {"scale": jnp.ones(6)}}
    seen = jnp.asarray([[2.0, 1.0, 0.5, 0.0, 0.0, 0.0]])
    vectors = {"embed/embedding": seen, "norm/scale": seen}
    moments = observe(empty_moments(params), vectors)
    state = end_task(project_gradients().init(params), moments, damping=Relative(0.3))
    for path, kept in (
        ("embed/embedding", state.weights),
        ("norm/scale", state.biases),
    ):
        expected = rgo_core.consolidate(
            jax.tree.map(np.asarray, moments[path]),
            Relative(0.3),
            looked_up=path in state.weights,
            normalized=False,
        )
        assert_close(kept[path].diagonal, expected.diagonal, dtype=np.float32)
    table, scale = state.weights["embed/embedding"], state.biases["norm/scale"]
    assert float(table.diagonal[0]) > 1.2 * float(scale.diagonal[0])
