"""How much of a step second moments leave free."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core.cases import normal

import rgo_core
import rgo_torch
from rgo_core import Relative, SecondMoment
from rgo_core.damping import Damping
from rgo_jax import empty_moments, observe, plasticity

KERNEL = {"kernel": normal(0, 5, 4).astype(np.float32)}


@pytest.mark.parametrize("damping", [0.5, Relative(0.03)])
def test_it_is_the_free_share_of_the_raw_projection(damping: Damping) -> None:
    moments = observe({}, KERNEL)
    found = plasticity(moments, damping=damping)
    H = SecondMoment(np.asarray(moments["kernel"].matrix), np.asarray(5))
    Q = rgo_core.consolidate(H, damping, normalized=False)
    np.testing.assert_allclose(found["kernel"], rgo_core.plasticity(Q), rtol=1e-6)
    assert 0 < float(found["kernel"]) < 1


def test_it_compiles_and_maps_over_seeds() -> None:
    stacked = {"kernel": jnp.stack([KERNEL["kernel"], 2 * KERNEL["kernel"]])}
    moments = jax.vmap(lambda vectors: observe({}, vectors))(stacked)
    found = jax.jit(jax.vmap(plasticity))(moments)["kernel"]
    for seed in range(2):
        alone = plasticity(observe({}, {"kernel": stacked["kernel"][seed]}))
        np.testing.assert_allclose(found[seed], alone["kernel"], rtol=1e-6)
    assert found[1] < found[0]


def test_before_the_first_task_all_is_free() -> None:
    free = plasticity(empty_moments({"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}))
    assert {path: float(share) for path, share in free.items()} == {
        "kernel": 1.0,
        "bias": 1.0,
    }


def test_it_is_that_of_pytorch() -> None:
    import torch

    layer = torch.nn.Linear(3, 2, bias=False)
    rgo = rgo_torch.RGO(layer, torch.optim.SGD(layer.parameters(), lr=0.1))
    rgo.begin_task()
    rgo.end_task([(torch.eye(3), torch.tensor([0, 1, 0]))])
    matrix = rgo.projector.moments["weight"].matrix.numpy()
    moments = {"kernel": SecondMoment(matrix, np.asarray(3))}
    expected = rgo.plasticity()["weight"]
    found = float(plasticity(moments, damping=rgo.damping)["kernel"])
    assert found == pytest.approx(expected, rel=1e-6)
    assert found < 1


def test_what_is_no_second_moment_is_refused() -> None:
    moments = observe({}, KERNEL)
    with pytest.raises(ValueError, match="damping must be a finite number > 0, got 0"):
        plasticity(moments, damping=0)
    with pytest.raises(TypeError, match="moments must be a mapping"):
        plasticity([])  # type: ignore[arg-type]
    rounded = moments["kernel"]._replace(matrix=np.ones((4, 4), np.float32))
    with pytest.raises(TypeError, match="expected a second moment in float64"):
        plasticity({"kernel": rounded})
    broken = moments["kernel"]._replace(matrix=np.full((4, 4), np.nan))
    with pytest.raises(ValueError, match="kernel: a second moment"):
        plasticity({"kernel": broken})
