import re
from typing import Any

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


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 2, 3, 4)])
def test_a_kernel_that_nothing_tells_of_must_be_told(shape: tuple[int, ...]) -> None:
    params = {"proj": {"kernel": jnp.ones(shape)}}
    message = (
        "expected kernels whose names or biases tell inputs from outputs, got "
        rf"{{'proj/kernel': {re.escape(str(shape))}}}: give their Axes in overrides"
    )
    with pytest.raises(ValueError, match=message):
        find_layout(params)
    axes = Axes((1, 2), tuple(range(3, len(shape))), groups=(0,))
    layout = find_layout(params, {"proj/kernel": axes})
    assert layout.axes == {"proj/kernel": axes}
    assert find_layout(params, {"proj/kernel": None}).passed
    # What it is called, or stands beside, may tell.
    called = find_layout({"stem_conv": params["proj"]})
    last = len(shape) - 1
    assert called.axes["stem_conv/kernel"] == Axes(tuple(range(last)), (last,))
    bias = {"kernel": jnp.ones(shape), "bias": jnp.ones(shape[-2:])}
    beside = find_layout({"proj": bias}).axes["proj/kernel"]
    assert beside == Axes(tuple(range(last - 1)), (last - 1, last))


def test_a_bias_that_fits_no_last_axes_tells_of_a_stack_or_a_transposition() -> None:
    stacked = {"kernel": jnp.ones((2, 3, 4)), "bias": jnp.ones((2, 4))}
    with pytest.raises(ValueError, match=r"expected kernels .* \(2, 3, 4\)"):
        find_layout({"layers": stacked})
    turned = {"kernel": jnp.ones((5, 5, 3, 2)), "bias": jnp.ones(3)}
    axes = find_layout({"up": turned}).axes["up/kernel"]
    assert axes == Axes((0, 1, 3), (2,))
    haiku = {"w": jnp.ones((5, 5, 3, 3)), "b": jnp.ones(3)}
    axes = find_layout({"net/conv2_d_transpose": haiku}).axes
    assert axes["net/conv2_d_transpose/w"] == Axes((0, 1, 3), (2,))


@pytest.mark.parametrize(
    ("kernel", "bias", "either"),
    [
        ((8, 8, 4), (8, 4), "Axes((0,), (1, 2), groups=()) or Axes((1,), (2,), gr"),
        ((1, 1, 4), (1, 4), "Axes((0,), (1, 2), groups=()) or Axes((1,), (2,), gr"),
        ((3, 2, 3, 4), (3, 4), "Axes((0, 1), (2, 3), groups=()) or Axes((1, 2), (3,)"),
        ((3, 3, 2, 4), (3, 2, 4), "(1, 2, 3), groups=()) or Axes((1,), (2, 3), groups"),
    ],
)
@pytest.mark.parametrize("names", [("kernel", "bias"), ("w", "b")])
def test_a_stack_that_could_be_one_layer_of_many_outputs_is_refused(
    kernel: tuple[int, ...], bias: tuple[int, ...], either: str, names: Any
) -> None:
    layer = {names[0]: jnp.ones(kernel), names[1]: jnp.ones(bias)}
    message = f"layers/{names[0]} may be .*{re.escape(either)}.*in overrides"
    with pytest.raises(ValueError, match=message):
        find_layout({"layers": layer})


def test_layers_that_are_mapped_over_as_many_as_their_inputs_are_refused() -> None:
    """Their one projection of n layers would protect nothing, without a word."""
    dense = nn.Dense(4)

    def make(key: Any) -> Any:
        return dense.init(key, jnp.ones((1, 8)))["params"]

    params = jax.eval_shape(jax.vmap(make), jax.random.split(KEY, 8))
    with pytest.raises(ValueError, match=r"or Axes\(\(1,\), \(2,\), groups=\(0,\)\)"):
        find_layout({"ensemble": params})


def test_a_stack_of_dense_layers_by_the_names_of_heads_is_no_attention() -> None:
    names = ("query", "key", "value", "out")
    for layers in (2, 6):
        stack = {name: {"kernel": jnp.ones((layers, 6, 6))} for name in names}
        with pytest.raises(ValueError, match=r"query/kernel': \(., 6, 6\)"):
            find_layout({"blocks": stack})
    heads = {name: {"kernel": jnp.ones((6, 2, 3))} for name in names[:3]}
    layout = find_layout({**heads, "out": {"kernel": jnp.ones((2, 3, 6))}})
    assert layout.axes["query/kernel"] == Axes((0,), (1, 2))
    assert layout.axes["out/kernel"] == Axes((0, 1), (2,))


def test_a_module_tells_heads_of_as_many_as_its_inputs() -> None:
    heads = nnx.MultiHeadAttention(4, 4, 8, rngs=RNGS, decode=False)
    assert find_layout(heads).axes["query/kernel"] == Axes((0,), (1, 2))


def test_a_weight_that_could_be_a_stack_of_single_outputs_is_refused() -> None:
    layer = {"weight": jnp.ones((5, 1, 3)), "bias": jnp.ones((5, 1))}
    either = r"Axes\(\(1, 2\), \(0,\), groups=\(\)\) or Axes\(\(2,\), \(1,\), groups"
    with pytest.raises(ValueError, match=either):
        find_layout({"layer": layer})
    # Equinox's class tells a convolution of one channel.
    module = eqx.nn.Conv1d(1, 5, 3, key=KEY)
    assert find_layout(module).axes["weight"] == Axes((1, 2), (0,))


@pytest.mark.parametrize(
    "layer",
    [
        {"w": jnp.ones((8, 4, 3, 3))},
        {"w": jnp.ones((8, 1, 3, 3))},
        {"w": jnp.ones((4, 4, 2))},
        {"w": jnp.ones((6, 8, 2, 4))},
        {"w": jnp.ones((3, 8, 3, 3)), "b": jnp.ones(3)},
        {"w": jnp.ones((3, 8, 3)), "b": jnp.ones(3)},
    ],
)
def test_a_w_whose_shape_is_no_convolutions_of_haiku_must_be_told(layer: Any) -> None:
    rank = layer["w"].ndim
    inputs, last = str(tuple(range(1, rank))), str(tuple(range(rank - 1)))
    either = re.escape(f"Axes({last}, ({rank - 1},), groups=()) or Axes({inputs}, (0")
    with pytest.raises(ValueError, match=f"q/w may be {either}"):
        find_layout({"q": layer})
    told = Axes(tuple(range(1, rank)), (0,))
    assert find_layout({"q": layer}, {"q/w": told}).axes["q/w"] == told


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(3, 3, 1, 4), (3, 3, 8, 4), (1, 1, 8, 4)])
def test_a_w_of_the_shape_of_haiku_s_convolutions_is_one(shape: Any) -> None:
    found = find_layout({"stem": {"w": jnp.ones(shape)}}).axes["stem/w"]
    assert found == Axes((0, 1, 2), (3,))


def test_a_w_that_may_begin_with_its_outputs_is_warned_of() -> None:
    both = {"stem": {"w": jnp.ones((3, 3, 3, 3))}}
    named = {"conv1": {"w": jnp.ones((8, 4, 3, 3))}}
    for params, path in ((both, "stem/w"), (named, "conv1/w")):
        told = Axes((1, 2, 3), (0,), ())
        advice = (
            rf"taken for convolutions .*, and may be .*\{{'{path}': Axes\(\(1, 2, 3"
        )
        for take in (find_layout, project_gradients().init):
            with pytest.warns(UserWarning, match=advice) as warned:
                take(params)
            assert len(warned) == 1
        assert find_layout(params, {path: told}).axes[path] == told


@pytest.mark.filterwarnings("error")
def test_what_haiku_calls_its_convolutions_tells() -> None:
    layer = {"w": jnp.ones((8, 4, 3, 3))}
    for name in ("net/conv2_d", "net/~/conv2_d_1", "net/conv2_d_transpose"):
        assert len(find_layout({name: layer}).axes[f"{name}/w"].inputs) == 3


def test_an_einsum_that_cannot_be_read_must_be_told() -> None:
    module = nnx.Einsum("na,...ab->n...b", (3, 4), rngs=RNGS)
    with pytest.raises(ValueError, match=r"expected kernels .* {'kernel': \(3, 4\)}"):
        find_layout(module)
    assert find_layout(module, {"kernel": Axes((0,), (1,))}).axes


@pytest.mark.parametrize("bias", ["bias", "b"])
def test_a_bias_that_fits_one_side_of_a_weight_tells_its_outputs(bias: str) -> None:
    def axes_beside(shape: tuple[int, ...], length: tuple[int, ...]) -> Axes:
        layer = {"weight": jnp.ones(shape), bias: jnp.ones(length)}
        return find_layout({"layer": layer}).axes["layer/weight"]

    assert axes_beside((6, 3), (3,)) == Axes((0,), (1,))
    assert axes_beside((3, 6), (3,)) == Axes((1,), (0,))
    assert axes_beside((4, 4), (4,)) == Axes((1,), (0,))
    assert axes_beside((4, 2, 3, 5), (4, 1, 1)) == Axes((1, 2, 3), (0,))
    assert axes_beside((3, 6), (3, 6)) == Axes((0, 1), diagonal=True)
    with pytest.raises(ValueError, match=r"expected kernels .* \(2, 3, 4\)"):
        axes_beside((2, 3, 4), (2, 3))


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


def test_matrices_whose_names_tell_nothing_are_warned_of() -> None:
    named = {"W1": jnp.ones((3, 4)), "b1": jnp.ones(4), "pos": jnp.ones((5, 4))}
    advice = r"^W1: .*find_layout\(params, \{'W1': Axes\(inputs=\(0,\), outputs=\(1,\)"
    for take in (find_layout, project_gradients().init):
        with pytest.warns(UserWarning, match=advice) as told:
            take(named)
        assert len(told) == 1
    # All axes of the leaf, or they would be refused.
    each = (
        r"'W1': Axes\(groups=\(0,\), inputs=\(1,\), outputs=\(2,\)\)}\) for x @ w, or "
    )
    each += r"Axes\(inputs=\(0, 1, 2\), diagonal=True\) where each acts alone"
    with pytest.warns(UserWarning, match=each):
        find_layout({"W1": jnp.ones((2, 3, 4))})
    # What the modules around it are called says nothing of it.
    with pytest.warns(UserWarning, match="^token_mixing/W1: a name that tells nothing"):
        find_layout({"token_mixing": {"W1": jnp.ones((3, 4))}})


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("axes", [Axes((0,), (1,)), Axes((0, 1), diagonal=True), None])
def test_what_is_said_of_a_matrix_is_not_warned_of(axes: Axes | None) -> None:
    params = {
        "W1": jnp.ones((3, 4)),
        "row": jnp.ones((1, 4)),
        "kernel": jnp.ones((4, 2)),
    }
    layout = find_layout(params, {"W1": axes})
    assert layout.axes.get("W1") == axes


def test_layers_that_are_stacked_behind_their_axes_are_refused() -> None:
    """A map over layers may put its axis anywhere; only in front is it a group."""

    def stack(axis: int, *, bias: bool) -> Any:
        axes = nnx.StateAxes({nnx.Param: axis, ...: 0})

        @nnx.split_rngs(splits=3)
        @nnx.vmap(out_axes=axes)
        def make(rngs: nnx.Rngs) -> nnx.Linear:
            return nnx.Linear(8, 5, use_bias=bias, rngs=rngs)

        return make(nnx.Rngs(0))

    for bias in (False, True):
        each = find_layout(stack(0, bias=bias)).axes["kernel"]
        assert each == Axes(inputs=(1,), outputs=(2,), groups=(0,))
        with pytest.raises(ValueError, match=r"got \{.*'kernel': \(8, 3, 5\)"):
            find_layout(stack(1, bias=bias))


def test_a_dictionary_s_own_value_keeps_its_name() -> None:
    weights = {"query": jnp.ones((2, 3)), "value": jnp.ones((2, 3))}
    told = {f"attention/{name}": Axes((0,), (1,)) for name in weights}
    assert find_layout({"attention": weights}, told).axes == told
