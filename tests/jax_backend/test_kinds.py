"""Every kind of layer, held against the gradients of its samples, one at a time."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core.tolerance import assert_close
from flax import nnx
from jax_backend.nets import draw

import rgo_core
from rgo_jax import (
    curvature_vectors,
    empty_moments,
    end_task,
    find_layout,
    observe,
    project_gradients,
)
from rgo_jax.layout import named_leaves

# How a parameter's gradient is seen as rows (*groups, m, n), written out by hand.
Rows = Callable[[np.ndarray], np.ndarray]


def last(gradient: np.ndarray) -> np.ndarray:
    return gradient.reshape(-1, gradient.shape[-1]).T


def last_two(gradient: np.ndarray) -> np.ndarray:
    return gradient.reshape(-1, math.prod(gradient.shape[-2:])).T


def first(gradient: np.ndarray) -> np.ndarray:
    return gradient.reshape(gradient.shape[0], -1)


def entries(gradient: np.ndarray) -> np.ndarray:
    return gradient.reshape(1, -1)


def two_groups_last(gradient: np.ndarray) -> np.ndarray:
    return np.stack([last(half) for half in np.split(gradient, 2, axis=-1)])


def two_groups_first(gradient: np.ndarray) -> np.ndarray:
    return np.stack([first(half) for half in np.split(gradient, 2)])


def last_but_one(gradient: np.ndarray) -> np.ndarray:
    return last(np.swapaxes(gradient, -1, -2))


def each_layer_first(gradient: np.ndarray) -> np.ndarray:
    return np.stack([first(layer) for layer in gradient])


def each_layer(gradient: np.ndarray) -> np.ndarray:
    return np.stack([entries(layer) for layer in gradient])


@dataclass(frozen=True)
class Kind:
    """A layer, what it computes of one sample, and the rows of its parameters."""

    make: Callable[[], tuple[Any, Callable[[Any, Any], Any]]]
    shape: tuple[int, ...]  # of a sample; of integers below 7 where `tokens`
    rows: dict[str, Rows]
    diagonal: tuple[str, ...] = ()
    tokens: bool = False


def of_nnx(make: Callable[[nnx.Rngs], Any]) -> Any:
    """Train a module of nnx as a pytree: its own parameters, with their classes."""

    def made() -> tuple[Any, Callable[[Any, Any], Any]]:
        module = make(nnx.Rngs(0))

        def apply(module: Any, x: Any) -> Any:
            return module(x[None])

        return module, apply

    return made


def of_state(make: Callable[[nnx.Rngs], Any], call: Any = None) -> Any:
    """Train the state of a module of nnx, which has forgotten the classes."""

    def made() -> tuple[Any, Callable[[Any, Any], Any]]:
        graph, state, rest = nnx.split(make(nnx.Rngs(0)), nnx.Param, ...)
        use = call or (lambda module, x: module(x[None]))
        return state, lambda state, x: use(nnx.merge(graph, state, rest), x)

    return made


def of_linen(module: nn.Module, shape: tuple[int, ...], tokens: bool = False) -> Any:
    def made() -> tuple[Any, Callable[[Any, Any], Any]]:
        x = jnp.ones((1, *shape), int if tokens else None)
        params = module.init(jax.random.key(0), x)["params"]
        return params, lambda params, x: module.apply({"params": params}, x[None])

    return made


def of_equinox(make: Callable[[Any], Any], call: Any = None) -> Any:
    def made() -> tuple[Any, Callable[[Any, Any], Any]]:
        module = make(jax.random.key(0))
        params, rest = eqx.partition(module, eqx.is_inexact_array)
        use = call or (lambda module, x: module(x))
        return params, lambda params, x: use(eqx.combine(params, rest), x)

    return made


def stack_of_linear(key: Any) -> Any:
    keys = jax.random.split(key, 2)
    return eqx.filter_vmap(lambda key: eqx.nn.Linear(3, 3, key=key))(keys)


def through_the_stack(layers: Any, x: Any) -> Any:
    parts, rest = eqx.partition(layers, eqx.is_array)
    for index in range(2):
        layer = eqx.combine(jax.tree.map(lambda leaf: leaf[index], parts), rest)  # noqa: B023
        x = jnp.tanh(layer(x))
    return x


HEADS = {
    **{f"{name}/kernel": last_two for name in ("query", "key", "value")},
    "out/kernel": last,
}
NORM = {"scale": entries, "bias": entries}

KINDS = {
    "nnx conv in groups": Kind(
        of_nnx(lambda rngs: nnx.Conv(4, 6, (3,), feature_group_count=2, rngs=rngs)),
        (5, 4),
        {"kernel": two_groups_last, "bias": entries},
    ),
    "nnx conv of volumes": Kind(
        of_nnx(lambda rngs: nnx.Conv(2, 3, (2, 2, 2), use_bias=False, rngs=rngs)),
        (3, 3, 3, 2),
        {"kernel": last},
    ),
    "nnx transposed conv": Kind(
        of_nnx(lambda rngs: nnx.ConvTranspose(3, 3, (2,), rngs=rngs)),
        (4, 3),
        {"kernel": last, "bias": entries},
    ),
    "nnx transposed conv, kernel turned": Kind(
        of_nnx(
            lambda rngs: nnx.ConvTranspose(3, 3, (2,), transpose_kernel=True, rngs=rngs)
        ),
        (4, 3),
        {"kernel": last_but_one, "bias": entries},
    ),
    "nnx attention without biases": Kind(
        of_state(
            lambda rngs: nnx.MultiHeadAttention(
                2, 4, 6, use_bias=False, decode=False, rngs=rngs
            )
        ),
        (3, 4),
        HEADS,
    ),
    "nnx attention": Kind(
        of_nnx(lambda rngs: nnx.MultiHeadAttention(2, 4, 6, decode=False, rngs=rngs)),
        (3, 4),
        {**HEADS, **dict.fromkeys([f"{path[:-6]}bias" for path in HEADS], entries)},
    ),
    "nnx embedding": Kind(
        of_nnx(lambda rngs: nnx.Embed(7, 3, rngs=rngs)),
        (4,),
        {"embedding": last},
        diagonal=("embedding",),
        tokens=True,
    ),
    "nnx layer norm": Kind(
        of_state(lambda rngs: nnx.LayerNorm(4, rngs=rngs)),
        (3, 4),
        NORM,
        diagonal=("scale", "bias"),
    ),
    "nnx recurrent": Kind(
        of_state(
            lambda rngs: nnx.LSTMCell(3, 2, rngs=rngs),
            lambda cell, x: cell((jnp.ones(2), jnp.ones(2)), x)[1],
        ),
        (3,),
        {
            **{f"i{gate}/kernel": last for gate in ("i", "f_", "g", "o")},
            **{f"h{gate}/kernel": last for gate in "ifgo"},
            **{f"h{gate}/bias": entries for gate in "ifgo"},
        },
    ),
    "linen conv": Kind(
        of_linen(nn.Conv(3, (3,)), (5, 2)),
        (5, 2),
        {"kernel": last, "bias": entries},
    ),
    "linen attention": Kind(
        of_linen(nn.MultiHeadAttention(2, qkv_features=6, use_bias=False), (3, 4)),
        (3, 4),
        HEADS,
    ),
    "linen embedding": Kind(
        of_linen(nn.Embed(7, 3), (4,), tokens=True),
        (4,),
        {"embedding": last},
        diagonal=("embedding",),
        tokens=True,
    ),
    "linen group norm": Kind(
        of_linen(nn.GroupNorm(num_groups=2), (3, 4)),
        (3, 4),
        NORM,
        diagonal=("scale", "bias"),
    ),
    "linen recurrent": Kind(
        of_linen(nn.RNN(nn.GRUCell(2, param_dtype=jnp.float64)), (4, 3)),
        (4, 3),
        {
            **{f"cell/i{gate}/kernel": last for gate in "rzn"},
            **{f"cell/i{gate}/bias": entries for gate in "rzn"},
            **{f"cell/h{gate}/kernel": last for gate in "rzn"},
            "cell/hn/bias": entries,
        },
    ),
    "equinox conv in groups": Kind(
        of_equinox(lambda key: eqx.nn.Conv1d(4, 6, 3, groups=2, key=key)),
        (4, 5),
        {"weight": two_groups_first, "bias": entries},
    ),
    "equinox transposed conv": Kind(
        of_equinox(lambda key: eqx.nn.ConvTranspose1d(3, 2, 2, key=key)),
        (3, 4),
        {"weight": first, "bias": entries},
    ),
    "equinox attention": Kind(
        of_equinox(
            lambda key: eqx.nn.MultiheadAttention(2, 4, use_output_bias=True, key=key),
            lambda module, x: module(x, x, x),
        ),
        (3, 4),
        {
            **{f"{name}_proj/weight": first for name in ("query", "key", "value")},
            "output_proj/weight": first,
            "output_proj/bias": entries,
        },
    ),
    "equinox embedding": Kind(
        of_equinox(
            lambda key: eqx.nn.Embedding(7, 3, key=key),
            lambda module, x: jax.vmap(module)(x),
        ),
        (4,),
        {"weight": last},
        diagonal=("weight",),
        tokens=True,
    ),
    "equinox norm": Kind(
        of_equinox(lambda key: eqx.nn.RMSNorm(4)),
        (4,),
        {"weight": entries, "bias": entries},
        diagonal=("weight", "bias"),
    ),
    "equinox recurrent": Kind(
        of_equinox(
            lambda key: eqx.nn.GRUCell(3, 2, key=key),
            lambda module, x: module(x, jnp.ones(2)),
        ),
        (3,),
        {"weight_ih": first, "weight_hh": first, "bias": entries, "bias_n": entries},
    ),
    "equinox layers in a stack": Kind(
        of_equinox(stack_of_linear, through_the_stack),
        (3,),
        {"weight": each_layer_first, "bias": each_layer},
    ),
    "parameters of one's own": Kind(
        lambda: (
            {"class_token": jnp.ones((1, 4)), "gamma": jnp.ones(())},
            lambda params, x: params["gamma"] * jnp.sin(x + params["class_token"]),
        ),
        (3, 4),
        {"class_token": entries, "gamma": entries},
        diagonal=("class_token", "gamma"),
    ),
}


def gradients_by_sample(
    apply: Any, params: Any, xs: Any
) -> list[dict[str, np.ndarray]]:
    """Return the gradient of each sample's score, by path, one at a time."""

    def score(params: Any, x: Any) -> Any:
        outputs = apply(params, x)
        weights = jnp.cos(jnp.arange(outputs.size, dtype=outputs.dtype))
        return (outputs.reshape(-1) * weights).sum()

    gradient = jax.jit(jax.grad(score))
    return [
        {path: np.asarray(leaf) for path, leaf in named_leaves(gradient(params, x))}
        for x in xs
    ]


def batched_score(apply: Any) -> Any:
    def score(params: Any, batch: Any) -> Any:
        outputs = jax.vmap(lambda x: apply(params, x))(batch)
        outputs = outputs.reshape(len(batch), -1)
        return outputs @ jnp.cos(jnp.arange(outputs.shape[1], dtype=outputs.dtype))

    return score


def hold(kind: Kind) -> None:
    """Hold what is kept of a kind, and its projection, against samples' gradients."""
    params, apply = kind.make()
    params = jax.tree.map(lambda leaf: draw(leaf.shape, 3, jnp.float64) / 2, params)
    xs = draw((3, *kind.shape), 1, jnp.float64)
    if kind.tokens:
        xs = jnp.asarray(np.random.default_rng(0).integers(7, size=(3, *kind.shape)))
    layout = find_layout(params)
    assert not layout.passed
    assert set(layout.axes) == set(kind.rows)
    assert {path for path in kind.rows if layout.axes[path].diagonal} == {
        *kind.diagonal
    }
    samples = gradients_by_sample(apply, params, xs)

    @jax.jit
    def protected(params: Any, xs: Any) -> Any:
        vectors = curvature_vectors(
            batched_score(apply), params, xs, layout=layout, reduce="rms"
        )
        moments = observe(empty_moments(params, layout), vectors)
        transformation = project_gradients(layout)
        state = end_task(transformation.init(params), moments, damping=0.5)
        return moments, transformation.update(params, state)[0]

    moments, projected_params = protected(params, xs)
    updates = dict(named_leaves(projected_params))
    for path, leaf in named_leaves(params):
        rows = kind.rows[path]
        seen = np.stack([rows(sample[path]) for sample in samples])
        outputs, n = seen.shape[-2:]
        H = np.einsum("s...mn,s...mk->...nk", seen, seen) / outputs
        if path in kind.diagonal:
            H = H * np.eye(n)
            found = np.asarray(moments[path].diagonal)[..., None] * np.eye(n)
        else:
            found = np.asarray(moments[path].matrix)
        # Of a key's bias the gradient is zero up to rounding.
        assert_close(found, H, condition=1e3, scale=float(np.linalg.norm(H)) + 1e-6)
        P = np.linalg.inv(np.eye(n) + H / 0.5)
        if layout.axes[path].outputs:
            P = P * (n / np.trace(P, axis1=-2, axis2=-1))[..., None, None]
        projected = rows(np.asarray(leaf)) @ P
        condition = 1e3 * (1 + np.linalg.norm(H))
        assert_close(rows(np.asarray(updates[path])), projected, condition=condition)


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_is_protected_by_its_samples_gradients(name: str) -> None:
    with jax.enable_x64(True):
        hold(KINDS[name])


def haiku_kinds() -> dict[str, Any]:
    hk = pytest.importorskip("haiku")
    return {
        "conv": (lambda x: hk.Conv1D(3, 2)(x), (4, 2)),
        "transposed": (lambda x: hk.Conv1DTranspose(3, 2)(x), (4, 3)),
        "norm": (lambda x: hk.LayerNorm(-1, True, True)(x), (3, 4)),
        "attention": (
            lambda x: hk.MultiHeadAttention(
                2, 3, model_size=4, w_init=hk.initializers.RandomNormal()
            )(x, x, x),
            (3, 4),
        ),
        "embedding": (lambda x: hk.Embed(7, 3)(x), (4,)),
        "lstm": (lambda x: hk.LSTM(2)(x, hk.LSTM(2).initial_state(1))[0], (3,)),
        "gru": (lambda x: hk.GRU(2)(x, jnp.ones((1, 2)))[0], (3,)),
    }


def haiku_rows(path: str) -> Rows:
    """Return the rows of a parameter of Haiku's."""
    name = path.split("/")[-1]
    if name in ("w", "w_i", "w_h", "embeddings"):
        return last_but_one if "transpose" in path else last
    return entries


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "name", ["conv", "transposed", "norm", "attention", "embedding", "lstm", "gru"]
)
def test_a_kind_of_haiku_is_protected_too(name: str) -> None:
    hk = pytest.importorskip("haiku")
    function, shape = haiku_kinds()[name]
    tokens = name == "embedding"
    with jax.enable_x64(True):
        network = hk.without_apply_rng(hk.transform(function))
        x = jnp.ones((1, *shape), int if tokens else jnp.float64)
        params = network.init(jax.random.key(0), x)
        paths = [path for path, _ in named_leaves(params)]
        diagonal = tuple(p for p in paths if name in ("norm", "embedding"))

        def make() -> tuple[Any, Any]:
            return params, lambda params, x: network.apply(params, x[None])

        rows = {path: haiku_rows(path) for path in paths}
        hold(Kind(make, shape, rows, diagonal=diagonal, tokens=tokens))


def test_a_sketch_of_as_many_rows_as_vectors_projects_as_the_whole_does() -> None:
    params = {"dense": {"kernel": draw((9, 3)), "bias": draw((3,))}}
    vectors = {"dense/kernel": draw((4, 9), 1), "dense/bias": draw((4, 3), 2)}
    updates = {}
    for bound in (None, 5):
        layout = find_layout(params, max_features=bound, sketch_rows=4)
        transformation = project_gradients(layout)

        @jax.jit
        def ended(state: Any, moments: Any) -> Any:
            moments = observe(moments, vectors)
            return end_task(state, moments, damping=0.1), moments

        state, moments = transformation.init(params), empty_moments(params, layout)
        state, moments = ended(state, moments)
        kind = rgo_core.SecondMoment if bound is None else rgo_core.SketchedMoment
        assert isinstance(moments["dense/kernel"], kind)
        assert isinstance(moments["dense/bias"], rgo_core.SecondMoment)
        updates[bound] = transformation.update(params, state)[0]["dense"]
    for name, found in updates[5].items():
        np.testing.assert_allclose(found, updates[None][name], rtol=1e-4, atol=1e-5)


def test_sketches_and_diagonals_are_observed_mapped_over_seeds() -> None:
    params = {"dense": {"kernel": draw((9, 3))}, "scale": draw((4,))}
    layout = find_layout(params, max_features=5, sketch_rows=4)
    rows = {"dense/kernel": draw((2, 6, 9), 1), "scale": draw((2, 6, 4), 2)}

    def run(rows: Any) -> Any:
        moments = observe(empty_moments(params, layout), rows)
        state = end_task(project_gradients(layout).init(params), moments)
        return moments, state

    mapped, _ = jax.jit(jax.vmap(run))(rows)
    for seed in range(2):
        alone, _ = run({path: each[seed] for path, each in rows.items()})
        for path, moment in alone.items():
            for one, other in zip(mapped[path], moment, strict=True):
                assert one.dtype == other.dtype
                if one.ndim != 3:  # the signs of a sketch's rows may differ
                    np.testing.assert_allclose(np.asarray(one)[seed], other)


def test_a_moment_of_another_form_is_refused() -> None:
    params = {"scale": jnp.ones(3)}
    state = project_gradients().init(params)
    message = "scale: expected a DiagonalMoment, as empty_moments .* got a SecondMoment"
    with pytest.raises(TypeError, match=message):
        end_task(state, observe({}, {"scale": jnp.ones((1, 3))}))


def test_updates_that_the_state_does_not_know_are_refused() -> None:
    state = project_gradients().init({"w": jnp.ones((3, 2))})
    with pytest.raises(ValueError, match=r"updates of shape \(5, 7\) do not fit the"):
        project_gradients().update({"w": jnp.ones((5, 7))}, state)
