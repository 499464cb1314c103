from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax_backend.nets import draw

import rgo_jax.equinox
import rgo_jax.nnx
from rgo_jax import (
    Axes,
    encode,
    end_task,
    find_layout,
    make_encoding,
    observe,
    project_gradients,
)

MODULES = [
    pytest.param(rgo_jax.nnx.FeatureEncoding, id="nnx"),
    pytest.param(rgo_jax.equinox.FeatureEncoding, id="equinox"),
]


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("axis", [0, 1])
def test_a_module_encodes_as_the_function_does(module: Any, axis: int) -> None:
    layer = module(5, tasks=3, name="hidden", seed=2, axis=axis)
    encoding = make_encoding(5, tasks=3, name="hidden", seed=2)
    features = draw((5, 5))
    for task in range(3):
        expected = encode(features, encoding, task, axis=axis)
        np.testing.assert_array_equal(layer(features, task), expected)


def test_flax_sees_no_parameters_and_splits_and_merges() -> None:
    layer = rgo_jax.nnx.FeatureEncoding(5, tasks=3, name="hidden")
    assert not jax.tree.leaves(nnx.state(layer, nnx.Param))
    graph, state = nnx.split(layer)
    features = draw((5,))

    @jax.jit
    def encoded(state: Any, task: Any) -> Any:
        return nnx.merge(graph, state)(features, task)

    for task in range(3):
        found = encoded(state, jnp.asarray(task))
        np.testing.assert_array_equal(found, layer(features, task))


def test_equinox_sees_no_parameters_and_compiles() -> None:
    layer = rgo_jax.equinox.FeatureEncoding(5, tasks=3, name="hidden")
    assert not jax.tree.leaves(eqx.filter(layer, eqx.is_inexact_array))
    features = draw((5,))
    encoded = eqx.filter_jit(lambda layer, task: layer(features, task))
    found = encoded(layer, jnp.asarray(1))
    np.testing.assert_array_equal(found, layer(features, 1))


def test_an_optimizer_of_flax_begins_a_task_without_momentum() -> None:
    layer = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    chain = optax.chain(project_gradients(), optax.sgd(0.1, momentum=0.9))
    optimizer = nnx.Optimizer(layer, chain, wrt=nnx.Param)
    gradients = jax.tree.map(jnp.ones_like, nnx.state(layer, nnx.Param))
    optimizer.update(layer, gradients)
    moments = observe({}, {"kernel": jnp.ones((4, 3))})
    optimizer.opt_state = end_task(optimizer.opt_state, moments)
    before = layer.kernel[...]
    optimizer.update(layer, jax.tree.map(jnp.zeros_like, gradients))
    assert jnp.array_equal(layer.kernel[...], before)


class Own(nnx.Variable[Any]):
    """What is trained, and no parameter by its class."""


def test_trained_variables_that_are_no_parameters_are_warned_of() -> None:
    layer = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    layer.scaling = Own(jnp.ones((2, 3)))
    trained = nnx.state(layer, (nnx.Param, Own))
    layout = find_layout(layer)
    with pytest.warns(UserWarning, match="scaling: not an nnx.Param: Own, and not pro"):
        project_gradients(layout).init(trained)
    project_gradients(layout).init(nnx.state(layer, nnx.Param))  # without a warning
    asked = find_layout(layer, {"scaling": None})
    project_gradients(asked).init(trained)
    given = find_layout(layer, {"scaling": Axes((0,), (1,))})
    assert project_gradients(given).init(trained).weights["scaling"].shape == (2, 2)
