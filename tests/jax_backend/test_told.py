"""Parameters that nothing tells of are refused or warned of, until Axes say it."""

import re
from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from rgo_jax import Axes, find_layout, project_gradients

KEY = jax.random.key(0)
RNGS = nnx.Rngs(0)


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
