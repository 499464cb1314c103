from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax_backend.nets import draw

import rgo_jax.equinox
import rgo_jax.nnx
from rgo_jax import encode, make_encoding

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
