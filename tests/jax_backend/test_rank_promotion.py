from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest
from jax_backend.nets import draw

from rgo_core import Relative
from rgo_core.vectors import Reduce
from rgo_jax import (
    conv,
    curvature_vectors,
    dense,
    empty_moments,
    encode,
    end_task,
    find_layout,
    make_encoding,
    observe,
    project_gradients,
    softmax_score,
    tapped_vectors,
)

PARAMS = {
    "conv": {"kernel": draw((3, 3, 2, 4)), "bias": draw((4,))},
    "scale": draw((64,)),
    "head": {"kernel": draw((64, 3)), "bias": draw((3,))},
}
BATCH = draw((5, 4, 4, 2)), jnp.asarray([0, 1, 2, 0, 1])
ENCODING = make_encoding(4, tasks=2, name="conv")


def network(params: Any, x: Any, taps: Any = None) -> Any:
    taps = {} if taps is None else taps
    x = conv(x, params["conv"]["kernel"], tap=taps.get("conv"))
    x = encode(x + params["conv"]["bias"].reshape(1, 1, 1, 4), ENCODING, 1)
    x = x.reshape(len(x), -1) * params["scale"][None]
    head = dense(x, params["head"]["kernel"], tap=taps.get("head"))
    return head + params["head"]["bias"][None]


@pytest.mark.parametrize("reduce", ["uncancelled", "rms"])
def test_no_ranks_are_promoted_on_the_way_through_a_task(reduce: Reduce) -> None:
    layout = find_layout(PARAMS)
    optimizer = optax.chain(project_gradients(layout), optax.sgd(0.1))

    def score(params: Any, batch: Any) -> Any:
        mask = jnp.asarray([True, True, True])
        logits = network(params, batch[0])
        return softmax_score(logits, batch[1], mask=mask)

    @jax.jit  # one program, not a hundred; ranks are looked at as it is traced
    def task(params: Any) -> Any:
        vectors = curvature_vectors(score, params, BATCH, layout=layout, reduce=reduce)
        moments = observe(empty_moments(params, layout), vectors)
        state = end_task(optimizer.init(params), moments, damping=Relative(0.03))
        taps = {"conv": jnp.zeros((5, 18)), "head": jnp.zeros((5, 64))}
        tapped = tapped_vectors(
            lambda t: softmax_score(network(params, BATCH[0], t), BATCH[1]), taps
        )
        return optimizer.update(params, state, params)[0], tapped

    with jax.numpy_rank_promotion("raise"):
        found = task(PARAMS)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(found))
