from typing import Any

import equinox as eqx
import flax.linen as nn
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given

from rgo_jax import Axes, find_layout
from rgo_jax.layout import (
    features,
    from_matrix,
    named_leaves,
    replaced,
    to_matrix,
    with_features,
)

KEY = jax.random.key(0)
RNGS = nnx.Rngs(0)


def nnx_params() -> Any:
    return nnx.state(
        nnx.Dict(
            conv=nnx.Conv(2, 4, (3, 5), rngs=RNGS),
            dense=nnx.Linear(3, 4, rngs=RNGS),
            plain=nnx.Linear(3, 4, use_bias=False, rngs=RNGS),
            norm=nnx.LayerNorm(4, rngs=RNGS),
            table=nnx.Embed(5, 4, rngs=RNGS),
            heads=nnx.MultiHeadAttention(2, 4, 8, rngs=RNGS, decode=False),
        ),
        nnx.Param,
    )


def linen_params() -> Any:
    network = nn.Sequential([nn.Conv(4, (3, 5)), nn.LayerNorm(), nn.Dense(6)])
    return network.init(KEY, jnp.ones((1, 6, 6, 2)))["params"]


class EquinoxNetwork(eqx.Module):
    conv: eqx.nn.Conv2d
    dense: eqx.nn.Linear
    norm: eqx.nn.LayerNorm
    table: eqx.nn.Embedding


def equinox_params() -> Any:
    network = EquinoxNetwork(
        eqx.nn.Conv2d(2, 4, (3, 5), key=KEY),
        eqx.nn.Linear(3, 4, key=KEY),
        eqx.nn.LayerNorm(4),
        eqx.nn.Embedding(5, 4, key=KEY),
    )
    return eqx.filter(network, eqx.is_inexact_array)


def haiku_params() -> Any:
    return {
        "net/conv": {"w": jnp.ones((3, 5, 2, 4)), "b": jnp.ones(4)},
        "net/linear": {"w": jnp.ones((3, 4)), "b": jnp.ones(4)},
        "net/norm": {"scale": jnp.ones(4), "offset": jnp.ones(4)},
    }


def test_flax_nnx_is_understood() -> None:
    layout = find_layout(nnx_params())
    assert layout.axes == {
        "conv/bias": Axes((0,), ()),
        "conv/kernel": Axes((0, 1, 2), (3,)),
        "dense/bias": Axes((0,), ()),
        "dense/kernel": Axes((0,), (1,)),
        "plain/kernel": Axes((0,), (1,)),
        # A bias of two axes tells that an attention's outputs have two.
        **{
            f"heads/{name}/bias": Axes((0, 1), ()) for name in ("query", "key", "value")
        },
        **{
            f"heads/{name}/kernel": Axes((0,), (1, 2))
            for name in ("query", "key", "value")
        },
        "heads/out/bias": Axes((0,), ()),
        "heads/out/kernel": Axes((0, 1), (2,)),
    }
    none = "its name is none of kernel, w, weight, bias, b"
    assert layout.passed == {
        "norm/bias": "a bias without a kernel beside it",
        "norm/scale": none,
        "table/embedding": none,
    }


def test_flax_linen_is_understood() -> None:
    layout = find_layout(linen_params())
    assert layout.axes == {
        "layers_0/bias": Axes((0,), ()),
        "layers_0/kernel": Axes((0, 1, 2), (3,)),
        "layers_2/bias": Axes((0,), ()),
        "layers_2/kernel": Axes((0,), (1,)),
    }
    assert set(layout.passed) == {"layers_1/bias", "layers_1/scale"}


def test_equinox_is_understood() -> None:
    layout = find_layout(equinox_params())
    assert layout.axes == {
        "conv/weight": Axes((1, 2, 3), (0,)),
        "conv/bias": Axes((0, 1, 2), ()),
        "dense/weight": Axes((1,), (0,)),
        "dense/bias": Axes((0,), ()),
    }
    assert layout.passed == {
        "norm/weight": "of a normalisation: it acts on each entry alone",
        "norm/bias": "of a normalisation: it acts on each entry alone",
        "table/weight": "an embedding: its rows are looked up, not multiplied",
    }


@pytest.mark.parametrize(
    "norm",
    [
        eqx.nn.LayerNorm((3, 4)),
        eqx.nn.LayerNorm((3, 4), use_bias=False),
        eqx.nn.RMSNorm((3, 4)),
        eqx.filter_eval_shape(eqx.nn.LayerNorm, (3, 4)),
        nn.LayerNorm(reduction_axes=(1, 2), feature_axes=(1, 2)).init(
            KEY, jnp.ones((2, 3, 4))
        )["params"],
    ],
    ids=["layer", "layer-unbiased", "rms", "shapes", "linen"],
)
def test_a_normalisation_over_many_axes_is_passed_through(norm: Any) -> None:
    layout = find_layout({"dense": {"kernel": jnp.ones((2, 3))}, "norm": norm})
    assert set(layout.axes) == {"dense/kernel"}


def test_haiku_is_understood() -> None:
    layout = find_layout(haiku_params())
    assert layout.axes == {
        "net/conv/w": Axes((0, 1, 2), (3,)),
        "net/conv/b": Axes((0,), ()),
        "net/linear/w": Axes((0,), (1,)),
        "net/linear/b": Axes((0,), ()),
    }
    assert set(layout.passed) == {"net/norm/scale", "net/norm/offset"}


def test_integers_are_passed_through() -> None:
    layout = find_layout({"kernel": jnp.ones((2, 3), jnp.int32)})
    assert layout.axes == {}
    assert layout.passed == {"kernel": "not real floating-point: int32"}


def test_shapes_alone_will_do() -> None:
    shapes = jax.eval_shape(haiku_params)
    assert find_layout(shapes) == find_layout(haiku_params())


def test_overrides_add_change_and_remove() -> None:
    params = {"mix": jnp.ones((2, 3, 4)), "kernel": jnp.ones((2, 3)), "w": jnp.ones(2)}
    layout = find_layout(params, {"mix": Axes((2, 0), (1,)), "kernel": None})
    assert layout.axes == {"mix": Axes((2, 0), (1,))}
    assert layout.passed["kernel"] == "passed through as asked"


def test_an_override_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must name parameters among \['w'\], got"):
        find_layout({"w": jnp.ones((2, 3))}, {"v": None})


def test_an_embedding_is_projected_as_asked() -> None:
    params = equinox_params()
    table = Axes((0,), (1,))
    assert find_layout(params, {"table/weight": table}).axes["table/weight"] == table
    layout = find_layout(params, {"table/weight": None})
    assert layout.passed["table/weight"] == "passed through as asked"


def test_an_override_of_a_layer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"among .*'table/weight'\], got \['table'\]"):
        find_layout(equinox_params(), {"table": Axes((0,), (1,))})


def test_what_is_no_array_is_passed_through_and_not_overridden() -> None:
    params = {"slope": 0.5, "w": jnp.ones((2, 3))}
    assert find_layout(params).passed == {"slope": "not an array: float"}
    with pytest.raises(ValueError, match=r"among \['w'\], got \['slope'\]"):
        find_layout(params, {"slope": None})


@pytest.mark.parametrize("axes", [((0,), ()), ((0, 1), (1,)), ((0,), (-1,))])
def test_an_override_must_hold_every_axis_once(axes: Any) -> None:
    with pytest.raises(ValueError, match=r"w: inputs and outputs must be all axes of"):
        find_layout({"w": jnp.ones((2, 3))}, {"w": Axes(*axes)})


@given(shape=st.lists(st.integers(1, 3), min_size=1, max_size=4), data=st.data())
def test_a_parameter_is_its_matrix_and_back(shape: list[int], data: Any) -> None:
    order = data.draw(st.permutations(range(len(shape))))
    split = data.draw(st.integers(0, len(shape)))
    axes = Axes(tuple(order[:split]), tuple(order[split:]))
    array = np.arange(np.prod(shape), dtype=float).reshape(shape)
    matrix = to_matrix(jnp.asarray(array), axes)
    n = features(tuple(shape), axes)
    expected = np.transpose(array, order).reshape(n, -1)
    np.testing.assert_array_equal(matrix, expected)
    np.testing.assert_array_equal(from_matrix(matrix, axes, tuple(shape)), array)
    stacked = to_matrix(jnp.asarray(np.stack([array, -array])), axes)
    np.testing.assert_array_equal(stacked, np.stack([expected, -expected]))


def test_axes_are_divided_by_the_number_of_features() -> None:
    axes = Axes((0, 1), (2,))
    assert with_features(axes, (3, 2, 4), 3) == Axes((0,), (1, 2))
    assert with_features(axes, (3, 2, 4), 24) == Axes((0, 1, 2), ())
    assert with_features(axes, (3, 2, 4), 5) == axes


@pytest.mark.parametrize(
    "params", [nnx_params(), linen_params(), equinox_params(), haiku_params()]
)
def test_leaves_are_replaced_by_their_paths(params: Any) -> None:
    leaves = dict(named_leaves(params))
    doubled = replaced(params, {path: 2 * leaf for path, leaf in leaves.items()})
    assert jax.tree.structure(doubled) == jax.tree.structure(params)
    for path, leaf in named_leaves(doubled):
        np.testing.assert_array_equal(leaf, 2 * leaves[path])
