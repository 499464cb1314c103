"""Layers of Flax, Equinox and Haiku, with their gradients' rows written out by hand."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

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


def each_layer_last(gradient: np.ndarray) -> np.ndarray:
    return np.stack([last(layer) for layer in gradient])


def inputs_between(gradient: np.ndarray) -> np.ndarray:
    return last_two(np.swapaxes(gradient, 0, 1))


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


@partial(nnx.jit, static_argnums=0)
def built(make: Callable[[nnx.Rngs], Any]) -> Any:
    """Draw the parameters of a module by one program."""
    return make(nnx.Rngs(0))


def of_nnx(make: Callable[[nnx.Rngs], Any]) -> Any:
    """Train a module of nnx as a pytree: its own parameters, with their classes."""

    def made() -> tuple[Any, Callable[[Any, Any], Any]]:
        module = built(make)

        def apply(module: Any, x: Any) -> Any:
            return module(x[None])

        return module, apply

    return made


def of_state(make: Callable[[nnx.Rngs], Any], call: Any = None) -> Any:
    """Train the state of a module of nnx, which has forgotten the classes."""

    def made() -> tuple[Any, Callable[[Any, Any], Any]]:
        graph, state, rest = nnx.split(built(make), nnx.Param, ...)
        use = call or (lambda module, x: module(x[None]))
        return state, lambda state, x: use(nnx.merge(graph, state, rest), x)

    return made


def of_linen(module: nn.Module, shape: tuple[int, ...], tokens: bool = False) -> Any:
    def made() -> tuple[Any, Callable[[Any, Any], Any]]:
        x = jnp.ones((1, *shape), int if tokens else None)
        params = jax.jit(module.init)(jax.random.key(0), x)["params"]
        return params, lambda params, x: module.apply({"params": params}, x[None])

    return made


def of_equinox(make: Callable[[Any], Any], call: Any = None) -> Any:
    def made() -> tuple[Any, Callable[[Any, Any], Any]]:
        module = eqx.filter_jit(make)(jax.random.key(0))
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
    "nnx einsum, outputs first": Kind(
        of_nnx(lambda rngs: nnx.Einsum("na, ca -> nc", (3, 3), (3,), rngs=rngs)),
        (3,),
        {"kernel": first, "bias": entries},
    ),
    "nnx einsum of heads": Kind(
        of_nnx(lambda rngs: nnx.Einsum("nta,hab->nthb", (2, 2, 4), (2, 4), rngs=rngs)),
        (3, 2),
        {"kernel": inputs_between, "bias": entries},
    ),
    "nnx einsum of experts": Kind(
        of_nnx(lambda rngs: nnx.Einsum("nea,eab->neb", (2, 3, 4), rngs=rngs)),
        (2, 3),
        {"kernel": each_layer_last},
    ),
    "nnx einsum of scales": Kind(
        of_nnx(lambda rngs: nnx.Einsum("nta,ta->nta", (3, 4), rngs=rngs)),
        (3, 4),
        {"kernel": entries},
        diagonal=("kernel",),
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
