"""On a mesh whose axes are explicit, as those of newer JAX are by default."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax_backend.nets import mlp_params, score
from jax_backend.small_projections import batch

from rgo_jax import curvature_vectors, end_task, observe, project_gradients

SPLIT = {
    "outputs": PartitionSpec(None, "model"),
    "inputs": PartitionSpec("model", None),
    "nothing": PartitionSpec(None, None),
}


def mesh(name: str) -> jax.sharding.Mesh:
    # One device tells types apart as many do.
    return jax.make_mesh((1,), (name,), axis_types=(AxisType.Explicit,))


def placed(tree: Any, mesh: jax.sharding.Mesh, *spec: str | None) -> Any:
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(*spec)))


@pytest.mark.parametrize("split", SPLIT)
def test_updates_are_projected_and_sharded_as_gradients_are(split: str) -> None:
    params = {"kernel": jnp.arange(12.0).reshape(4, 3)}
    transformation = project_gradients()
    moments = observe({}, {"kernel": jnp.asarray([[1.0, 2.0, 0.0, 1.0]])})
    state = end_task(transformation.init(params), moments)
    expected = transformation.update(params, state)[0]["kernel"]
    model = mesh("model")
    with jax.set_mesh(model):
        gradients = placed(params, model, *SPLIT[split])
        found = jax.jit(transformation.update)(gradients, state)[0]["kernel"]
    assert found.sharding.spec == SPLIT[split]
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def test_samples_that_are_sharded_are_observed_as_they_are_on_one_device() -> None:
    @jax.jit
    def seen(params: Any, samples: tuple[Array, Array]) -> Any:
        return observe({}, curvature_vectors(score, params, samples))

    params = mlp_params((3, 5, 4))
    expected = seen(params, batch())
    data = mesh("data")
    with jax.set_mesh(data):
        found = seen(placed(params, data), placed(batch(), data, "data"))
    for path, moment in expected.items():
        assert found[path].matrix.dtype == jnp.float64
        np.testing.assert_allclose(
            np.asarray(found[path].matrix), np.asarray(moment.matrix), rtol=1e-5
        )
