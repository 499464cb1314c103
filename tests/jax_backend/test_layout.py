from typing import Any, NamedTuple

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from rgo_jax import (
    Axes,
    curvature_vectors,
    empty_moments,
    find_layout,
    project_gradients,
)
from rgo_jax.layout import named_leaves, replaced

KEY = jax.random.key(0)
SCALE = Axes((0,), diagonal=True)
TABLE = Axes((0,), (1,), diagonal=True)
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
    return jax.jit(network.init)(KEY, jnp.ones((1, 6, 6, 2)))["params"]


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
        "conv/bias": Axes((0,)),
        "conv/kernel": Axes((0, 1, 2), (3,)),
        "dense/bias": Axes((0,)),
        "dense/kernel": Axes((0,), (1,)),
        "plain/kernel": Axes((0,), (1,)),
        # A bias of two axes tells that an attention's outputs have two.
        **{f"heads/{name}/bias": Axes((0, 1)) for name in ("query", "key", "value")},
        **{
            f"heads/{name}/kernel": Axes((0,), (1, 2))
            for name in ("query", "key", "value")
        },
        "heads/out/bias": Axes((0,)),
        "heads/out/kernel": Axes((0, 1), (2,)),
        "norm/bias": SCALE,
        "norm/scale": SCALE,
        "table/embedding": TABLE,
    }
    assert not layout.passed


def test_statistics_of_a_module_of_nnx_are_passed_through() -> None:
    module = nnx.Dict(norm=nnx.BatchNorm(4, rngs=RNGS), drop=nnx.Dropout(0.5))
    layout = find_layout(module)
    assert layout.axes == {"norm/bias": SCALE, "norm/scale": SCALE}
    assert layout.passed == {
        "norm/mean": "not an nnx.Param: BatchStat",
        "norm/var": "not an nnx.Param: BatchStat",
    }
    # A state holds what its owner chose.
    assert set(find_layout(nnx.state(module)).axes) == {
        *layout.axes,
        *layout.passed,
    }


def test_flax_linen_is_understood() -> None:
    layout = find_layout(linen_params())
    assert layout.axes == {
        "layers_0/bias": Axes((0,)),
        "layers_0/kernel": Axes((0, 1, 2), (3,)),
        "layers_2/bias": Axes((0,)),
        "layers_1/bias": SCALE,
        "layers_1/scale": SCALE,
        "layers_2/kernel": Axes((0,), (1,)),
    }
    assert not layout.passed


def test_equinox_is_understood() -> None:
    layout = find_layout(equinox_params())
    assert layout.axes == {
        "conv/weight": Axes((1, 2, 3), (0,)),
        "conv/bias": Axes((0, 1, 2)),
        "dense/weight": Axes((1,), (0,)),
        "dense/bias": Axes((0,)),
        "norm/weight": SCALE,
        "norm/bias": SCALE,
        "table/weight": TABLE,
    }
    assert not layout.passed


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
def test_a_normalisation_over_many_axes_acts_entry_by_entry(norm: Any) -> None:
    layout = find_layout({"dense": {"kernel": jnp.ones((2, 3))}, "norm": norm})
    found = {path: axes for path, axes in layout.axes.items() if "norm" in path}
    assert found
    shapes = {path: len(leaf.shape) for path, leaf in named_leaves({"norm": norm})}
    for path, axes in found.items():
        assert axes == Axes(tuple(range(shapes[path])), diagonal=True)


def test_haiku_is_understood() -> None:
    layout = find_layout(haiku_params())
    assert layout.axes == {
        "net/conv/w": Axes((0, 1, 2), (3,)),
        "net/conv/b": Axes((0,)),
        "net/linear/w": Axes((0,), (1,)),
        "net/linear/b": Axes((0,)),
        "net/norm/scale": SCALE,
        "net/norm/offset": SCALE,
    }
    assert not layout.passed


def test_a_single_array_without_a_name_is_refused() -> None:
    layout, array = find_layout({"kernel": jnp.ones((3, 2))}), jnp.ones((3, 2))
    message = (
        r"parameters by name, as .* got a single ArrayImpl of shape \(3, 2\); give"
    )
    named = project_gradients(layout)
    takes: list[Any] = [find_layout, empty_moments, project_gradients().init]
    takes += [named.init, lambda params: empty_moments(params, layout)]
    takes += [lambda params: curvature_vectors(lambda p, x: x @ p, params, array)]
    state = named.init({"kernel": array})
    for take in (*takes, lambda updates: named.update(updates, state)):
        with pytest.raises(ValueError, match=message):
            take(array)


class Heads(NamedTuple):
    value: Any
    raw_value: Any


def test_parameters_of_one_path_are_refused() -> None:
    layout, layer = find_layout({"kernel": jnp.ones((3, 2))}), {"kernel": jnp.eye(3)}
    twice = {"a": layer, "a/kernel": 2 * jnp.eye(3)}
    message = r"got \['a'\]\['kernel'\] and \['a/kernel'\], which are both 'a/kernel'"
    takes: list[Any] = [find_layout, empty_moments, project_gradients().init]
    takes += [project_gradients(layout).init]
    takes += [lambda p: curvature_vectors(lambda p, x: x, p, jnp.ones(4))]
    # Each leaf would have the update of the last.
    state = project_gradients().init({"a": layer})
    for take in (*takes, lambda p: project_gradients().update(p, state)):
        with pytest.raises(ValueError, match=message):
            take(twice)
    with pytest.raises(ValueError, match=r"\['h'\].value and .*raw_value, .* rename"):
        find_layout({"h": Heads(jnp.eye(3), jnp.eye(3))})


def test_an_optimizer_whose_parameters_are_flattened_is_refused() -> None:
    params = {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}
    flat = optax.flatten(optax.chain(project_gradients(), optax.sgd(0.1)))
    with pytest.raises(
        ValueError, match=r"\(8,\); .* beside optax.flatten, not inside"
    ):
        flat.init(params)
    beside = optax.chain(project_gradients(), optax.flatten(optax.adam(0.1)))
    updates, _ = beside.update(params, beside.init(params))
    assert jax.tree.structure(updates) == jax.tree.structure(params)


def test_integers_are_passed_through() -> None:
    layout = find_layout({"kernel": jnp.ones((2, 3), jnp.int32)})
    assert layout.axes == {}
    assert layout.passed == {"kernel": "not real floating-point: int32"}


def test_complex_leaves_are_not_passed_through_without_a_word() -> None:
    params = {"kernel": jnp.ones((2, 3), jnp.complex64), "bias": jnp.ones(3)}
    with pytest.warns(UserWarning, match="kernel: .*complex64, and not protected"):
        project_gradients().init(params)
    project_gradients(layout=find_layout(params, {"kernel": None})).init(params)


def test_shapes_alone_will_do() -> None:
    shapes = jax.eval_shape(haiku_params)
    assert find_layout(shapes) == find_layout(haiku_params())


def test_overrides_add_change_and_remove() -> None:
    params = {"mix": jnp.ones((2, 3, 4)), "kernel": jnp.ones((2, 3)), "w": jnp.ones(2)}
    layout = find_layout(params, {"mix": Axes((2, 0), (1,)), "kernel": None})
    assert layout.axes == {"mix": Axes((2, 0), (1,)), "w": SCALE}
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
    with pytest.raises(ValueError, match=r"w: inputs, outputs and groups must be all"):
        find_layout({"w": jnp.ones((2, 3))}, {"w": Axes(*axes)})


def test_more_features_than_wanted_are_sketched_but_for_diagonals() -> None:
    params = {
        "wide": {"kernel": jnp.ones((9, 2)), "bias": jnp.ones(2)},
        "narrow": {"kernel": jnp.ones((4, 9)), "bias": jnp.ones(9)},
        "table": {"embedding": jnp.ones((50, 3))},
    }
    assert not find_layout(params).sketched
    layout = find_layout(params, max_features=5, sketch_rows=3)
    assert layout.sketched == {"wide/kernel": 3, "narrow/bias": 3}
    # As many rows as features would save nothing.
    assert not find_layout(params, max_features=5, sketch_rows=9).sketched


@pytest.mark.parametrize("name", ["max_features", "sketch_rows"])
def test_a_bound_must_be_a_positive_integer(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be an integer >= 1, got 0"):
        find_layout({"w": jnp.ones((2, 2))}, **{name: 0})


@pytest.mark.parametrize(
    "make", [nnx_params, linen_params, equinox_params, haiku_params]
)
def test_leaves_are_replaced_by_their_paths(make: Any) -> None:
    params = make()
    leaves = dict(named_leaves(params))
    doubled = replaced(params, {path: 2 * leaf for path, leaf in leaves.items()})
    assert jax.tree.structure(doubled) == jax.tree.structure(params)
    for path, leaf in named_leaves(doubled):
        np.testing.assert_array_equal(leaf, 2 * leaves[path])


def test_a_dictionary_s_own_value_keeps_its_name() -> None:
    weights = {"query": jnp.ones((2, 3)), "value": jnp.ones((2, 3))}
    told = {f"attention/{name}": Axes((0,), (1,)) for name in weights}
    assert find_layout({"attention": weights}, told).axes == told
