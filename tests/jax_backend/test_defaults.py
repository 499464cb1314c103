"""What nothing is said of: vectors that do not cancel, and the damping of a network."""

from typing import Any

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from core.tolerance import assert_close
from flax import linen, nnx
from jax_backend.nets import assert_same, draw, labels, mlp_params

import rgo_core
import rgo_torch
from rgo_core import Relative
from rgo_core.damping import RELATIVE_DAMPING, UPDATE_DAMPING
from rgo_jax import (
    Axes,
    Layout,
    conv,
    curvature_vectors,
    dense,
    empty_moments,
    end_task,
    find_layout,
    observe,
    plasticity,
    project_gradients,
    projection_state,
    softmax_score,
    tapped_vectors,
)

N, M, CLASSES = 4, 6, 3
KEY = jax.random.key(0)


# --- vectors before a layer normalisation


def weights() -> dict[str, Any]:
    return {
        "hidden": {"kernel": draw((N, M), 1), "bias": draw((M,), 2)},
        "norm": {"scale": 1 + draw((M,), 3) / 4, "bias": draw((M,), 4)},
        "head": {"kernel": draw((M, CLASSES), 5), "bias": draw((CLASSES,), 6)},
    }


def normalised(params: Any, x: Any, taps: Any = None) -> Any:
    """Apply a layer, a layer normalisation and a head."""
    tap = None if taps is None else taps["hidden/kernel"]
    x = dense(x, params["hidden"]["kernel"], tap=tap) + params["hidden"]["bias"]
    x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
    x = jnp.tanh(x * params["norm"]["scale"] + params["norm"]["bias"])
    return x @ params["head"]["kernel"] + params["head"]["bias"]


def the_same_in_torch(params: Any) -> torch.nn.Sequential:
    model = torch.nn.Sequential(
        torch.nn.Linear(N, M),
        torch.nn.LayerNorm(M),
        torch.nn.Tanh(),
        torch.nn.Linear(M, CLASSES),
    ).double()
    given = [
        params["hidden"]["kernel"].T,
        params["hidden"]["bias"],
        params["norm"]["scale"],
        params["norm"]["bias"],
        params["head"]["kernel"].T,
        params["head"]["bias"],
    ]
    with torch.no_grad():
        for parameter, array in zip(model.parameters(), given, strict=True):
            parameter.copy_(torch.from_numpy(np.array(array)))
    return model


def test_a_layer_before_a_normalisation_is_seen_as_pytorch_sees_it() -> None:
    with jax.enable_x64(True):
        params, x, y = weights(), draw((7, N), 7), labels(7, CLASSES)

        def score(params: Any, batch: Any) -> Any:
            return softmax_score(normalised(params, batch[0]), batch[1])

        vectors = curvature_vectors(score, params, (x, y))
        plain = curvature_vectors(score, params, (x, y), reduce="mean")
        taps = {"hidden/kernel": jnp.zeros((7, N))}
        tapped = tapped_vectors(
            lambda taps: softmax_score(normalised(params, x, taps), y), taps
        )
        seen = {p: np.asarray(v.mT @ v) for p, v in vectors.items()}
        blind = np.asarray(plain["hidden/kernel"])
        rows = np.asarray(tapped["hidden/kernel"])
    assert np.abs(blind).max() < 1e-12 < np.abs(seen["hidden/kernel"]).max()
    moments = rgo_torch.second_moments(
        the_same_in_torch(params),
        [(torch.from_numpy(np.array(x)), torch.from_numpy(np.array(y)))],
        per="sample",
        reduce="mean",
    )
    expected = moments["0.weight"].matrix.numpy()
    assert_close(seen["hidden/kernel"], expected)
    assert_close(rows.T @ rows, expected)
    assert_close(seen["head/kernel"], moments["3.weight"].matrix.numpy())


@pytest.mark.parametrize("per", ["sample", "batch"])
def test_each_layer_of_a_stack_is_seen_as_it_is_by_itself(per: Any) -> None:
    with jax.enable_x64(True):
        layers = {"first": draw((N, N), 1), "last": draw((N, N), 2)}
        batch = draw((7, N), 7), labels(7, N)

        def score(params: Any, batch: Any) -> Any:
            hidden = jnp.tanh(batch[0] @ params["first"])
            outputs = hidden @ params["last"]
            centred = outputs - outputs.mean(-1, keepdims=True)
            return softmax_score(centred, batch[1])

        def stacked(params: Any, batch: Any) -> Any:
            first, last = params["kernel"]
            return score({"first": first, "last": last}, batch)

        each = Axes((1,), (2,), groups=(0,))
        kernel = {"kernel": jnp.stack([layers["first"], layers["last"]])}
        found = curvature_vectors(
            stacked, kernel, batch, per=per, layout=Layout({"kernel": each}, {})
        )["kernel"]
        one = Axes((0,), (1,))
        layout = Layout({"first": one, "last": one}, {})
        expected = curvature_vectors(score, layers, batch, per=per, layout=layout)
    for index, path in enumerate(layers):
        assert np.abs(np.asarray(expected[path])).max() > 1e-3
        assert_close(np.asarray(found[index]), np.asarray(expected[path]))


@pytest.mark.parametrize("reduce", ["mean", "rms", "signs"])
def test_a_tap_takes_what_is_asked_for(reduce: Any) -> None:
    x, kernel, y = draw((5, N)), draw((N, M), 1), labels(5, M)

    def tapped(taps: Any) -> Any:
        return softmax_score(dense(x, kernel, tap=taps["w"], reduce=reduce), y)

    found = tapped_vectors(tapped, {"w": jnp.zeros((5, N))})["w"]
    expected = curvature_vectors(
        lambda params, batch: softmax_score(batch[0] @ params["w"], batch[1]),
        {"w": kernel},
        (x, y),
        reduce=reduce,
    )["w"]
    assert found.shape == (5, N)
    np.testing.assert_allclose(
        found.T @ found, expected.T @ expected, rtol=1e-5, atol=1e-7
    )


def test_a_tap_of_all_outputs_of_a_convolution_is_refused() -> None:
    image, kernel = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 3))
    with pytest.raises(ValueError, match="reduce must be 'uncancelled' or 'mean' or"):
        conv(image, kernel, reduce="rms")  # type: ignore[arg-type]


# --- the damping of a network


def linen_params(module: linen.Module, *inputs: Any) -> Any:
    return module.init(KEY, *inputs)["params"]


def haiku_params(core: Any) -> Any:
    def apply(x: Any) -> Any:
        made = core(4)
        return made(x, made.initial_state(1))

    return hk.transform(apply).init(KEY, jnp.ones((1, 3)))


def of_equinox(module: Any) -> Any:
    return eqx.filter(module, eqx.is_inexact_array)


def of_nnx(module: nnx.Module) -> Any:
    return nnx.state(module, nnx.Param)


ROWS, IMAGE = jnp.ones((1, 3)), jnp.ones((1, 5, 5, 2))
CARRY = jnp.zeros((1, 4))
PLAIN = {
    "by hand": lambda: mlp_params((3, 5, 4)),
    "linen": lambda: linen_params(linen.Dense(4), ROWS),
    "nnx": lambda: of_nnx(nnx.Linear(3, 4, rngs=nnx.Rngs(0))),
    "equinox": lambda: of_equinox(eqx.nn.MLP(3, 4, 5, 2, key=KEY)),
}
OTHERS = {
    "normalised": weights,
    "convolution": lambda: linen_params(linen.Conv(4, (3, 3)), IMAGE),
    "embedding": lambda: linen_params(linen.Embed(5, 4), jnp.zeros((1,), int)),
    "token": lambda: mlp_params((3, 5, 4)) | {"token": jnp.ones(4)},
    "linen attention": lambda: linen_params(
        linen.MultiHeadDotProductAttention(2), jnp.ones((1, 3, 4))
    ),
    "nnx attention": lambda: of_nnx(nnx.MultiHeadAttention(2, 8, rngs=nnx.Rngs(0))),
    "equinox attention": lambda: of_equinox(eqx.nn.MultiheadAttention(2, 8, key=KEY)),
    "linen rnn": lambda: linen_params(linen.SimpleCell(4), CARRY, ROWS),
    "linen lstm": lambda: linen_params(linen.LSTMCell(4), (CARRY, CARRY), ROWS),
    "linen gru": lambda: linen_params(linen.GRUCell(4), CARRY, ROWS),
    "nnx rnn": lambda: of_nnx(nnx.SimpleCell(3, 4, rngs=nnx.Rngs(0))),
    "nnx lstm": lambda: of_nnx(nnx.OptimizedLSTMCell(3, 4, rngs=nnx.Rngs(0))),
    "nnx gru": lambda: of_nnx(nnx.GRUCell(3, 4, rngs=nnx.Rngs(0))),
    "equinox lstm": lambda: of_equinox(eqx.nn.LSTMCell(3, 4, key=KEY)),
    "equinox gru": lambda: of_equinox(eqx.nn.GRUCell(3, 4, key=KEY)),
    "haiku rnn": lambda: haiku_params(hk.VanillaRNN),
    "haiku lstm": lambda: haiku_params(hk.LSTM),
    "haiku gru": lambda: haiku_params(hk.GRU),
}
PERCEPTRON = rgo_core.measured_damping("sample", "mean", scaled=False)


def moments_of(params: Any) -> Any:
    """Return second moments of vectors drawn for each parameter."""
    moments = empty_moments(params)
    vectors = {
        path: draw((7, moment[0].shape[-1]), seed)
        for seed, (path, moment) in enumerate(moments.items())
    }
    return observe(moments, vectors)


def ended(optimizer: Any, params: Any, **options: Any) -> Any:
    """Return the projections after a task."""
    state = end_task(optimizer.init(params), moments_of(params), **options)
    return projection_state(state)


@pytest.mark.parametrize(
    "make", [*PLAIN.values(), *OTHERS.values()], ids=PLAIN | OTHERS
)
def test_the_layers_say_which_damping_was_measured(make: Any) -> None:
    params, is_plain = make(), make in PLAIN.values()
    damping = PERCEPTRON if is_plain else RELATIVE_DAMPING
    optimizer = optax.chain(project_gradients(), optax.sgd(0.1))
    found = ended(optimizer, params)
    assert_same(found, ended(optimizer, params, damping=damping))
    compiled = jax.jit(lambda state, moments: end_task(state, moments))
    state = compiled(optimizer.init(params), moments_of(params))
    again = projection_state(state)
    for one, other in zip(*map(jax.tree.leaves, (found, again)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


def projected(*before: Any, after: Any = None) -> Any:
    last = optax.scale(-0.1) if after is None else after
    return optax.chain(*before, project_gradients(), last)


GRADIENTS = {
    "first": lambda: projected(after=optax.adam(0.1)),
    "clipped": lambda: projected(optax.clip_by_global_norm(1.0), after=optax.adam(0.1)),
    "scheduled": lambda: projected(
        optax.scale_by_schedule(lambda step: 1 / (1 + step))
    ),
    "rate of its own": lambda: projected(
        optax.inject_hyperparams(optax.scale)(step_size=0.5)
    ),
    "stateless": lambda: projected(optax.sgd(0.1)),
    "steps together": lambda: optax.MultiSteps(projected(after=optax.adam(0.1)), 2),
    "by label": lambda: optax.multi_transform(
        {"a": optax.adam(0.1), "b": projected()},
        dict.fromkeys(mlp_params((3, 5, 4)), "b") | {"other": "a"},
    ),
}
UPDATES = {
    "adam": lambda: projected(optax.adam(0.1)),
    "momentum": lambda: projected(optax.sgd(0.1, momentum=0.9)),
    "chain in a chain": lambda: optax.chain(optax.adam(0.1), projected()),
    "steps together": lambda: optax.MultiSteps(projected(optax.adam(0.1)), 2),
    "rate of its own": lambda: projected(optax.inject_hyperparams(optax.adam)(0.1)),
}


@pytest.mark.parametrize("make", UPDATES.values(), ids=UPDATES)
def test_updates_of_an_optimizer_have_a_damping_of_their_own(make: Any) -> None:
    params, optimizer = mlp_params((3, 5, 4)), make()
    assert_same(
        ended(optimizer, params), ended(optimizer, params, damping=UPDATE_DAMPING)
    )


@pytest.mark.filterwarnings("ignore:.*comes after project_gradients")
@pytest.mark.parametrize("make", GRADIENTS.values(), ids=GRADIENTS)
def test_gradients_have_that_of_the_network(make: Any) -> None:
    params, optimizer = mlp_params((3, 5, 4)), make()
    whole = params | {"other": jnp.ones(2)} if make is GRADIENTS["by label"] else params
    state = optimizer.init(whole)
    moments = moments_of(params)
    assert_same(
        projection_state(end_task(state, moments)),
        projection_state(end_task(state, moments, damping=PERCEPTRON)),
    )


def test_an_optimizer_of_flax_has_that_of_updates() -> None:
    layer = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(layer, projected(optax.adam(0.1)), wrt=nnx.Param)
    moments = observe({}, {"kernel": draw((4, 3)), "bias": draw((4, 2))})
    found = end_task(optimizer.opt_state, moments)
    expected = end_task(optimizer.opt_state, moments, damping=UPDATE_DAMPING)
    assert_same(projection_state(found), projection_state(expected))


# --- how much is free, by the state


def test_what_is_free_is_told_by_the_state() -> None:
    params = {
        "embed": {"embedding": jnp.ones((5, 2))},
        "head": {"kernel": draw((2, 3))},
    }
    layout = find_layout(params)
    moments = observe(
        empty_moments(params, layout),
        {"embed/embedding": draw((6, 5)) ** 3, "head/kernel": draw((6, 2))},
    )
    state = end_task(
        optax.chain(project_gradients(), optax.sgd(0.1)).init(params), moments
    )
    projections = projection_state(state).weights
    found = plasticity(moments, state=state)
    for path, projection in projections.items():
        expected = rgo_core.plasticity(projection, xp=jnp)
        np.testing.assert_allclose(found[path], expected, rtol=1e-6)
    alone = plasticity(moments, damping=Relative(0.03))
    assert alone["embed/embedding"] != found["embed/embedding"]
    np.testing.assert_allclose(alone["head/kernel"], found["head/kernel"], rtol=1e-6)
