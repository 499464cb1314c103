"""Run by `test_meshes`: four devices of one processor, which JAX makes when it starts.

Prints, as JSON, how far what they have is from what one has.
"""

import json
import os
import sys
from functools import cache, partial
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import rgo_jax

FEATURES, HIDDEN, CLASSES, SAMPLES, TASKS = 12, 8, 4, 16, 2
COUNTS = {"step": 0, "observe": 0}
losses = optax.softmax_cross_entropy_with_integer_labels


def start() -> dict:
    draw = np.random.default_rng(0)
    return {
        "first": {
            "kernel": jnp.asarray(draw.normal(size=(FEATURES, HIDDEN)), jnp.float32),
            "bias": jnp.zeros(HIDDEN),
            "scale": jnp.ones(HIDDEN),
        },
        "last": {
            "kernel": jnp.asarray(draw.normal(size=(HIDDEN, CLASSES)), jnp.float32),
        },
    }


@cache
def data(task: int) -> tuple[Array, Array]:
    draw = np.random.default_rng(10 + task)
    x = jnp.asarray(draw.normal(size=(SAMPLES, FEATURES)), jnp.float32)
    return x, jnp.asarray(draw.integers(CLASSES, size=SAMPLES))


def logits(params: dict, x: Array) -> Array:
    first, last = params["first"], params["last"]
    hidden = first["scale"] * (x @ first["kernel"]) + first["bias"]
    return jnp.maximum(hidden, 0) @ last["kernel"]


def score(params: dict, batch: tuple[Array, Array]) -> Array:
    return rgo_jax.softmax_score(logits(params, batch[0]), batch[1])


optimizer = optax.chain(rgo_jax.project_gradients(), optax.sgd(0.1))


end_task = jax.jit(rgo_jax.end_task)


@jax.jit
def step(params: dict, state: tuple, x: Array, y: Array) -> tuple[dict, tuple]:
    COUNTS["step"] += 1  # when it is traced

    def loss(params: dict) -> Array:
        return losses(logits(params, x), y).mean()

    updates, state = optimizer.update(jax.grad(loss)(params), state)
    return optax.apply_updates(params, updates), state


def learn(
    mesh: jax.sharding.Mesh | None, weights: dict | None = None, checked: bool = True
) -> tuple:
    """Learn the tasks, on a mesh or on one device."""
    params = start()
    state = optimizer.init(params)
    moments = rgo_jax.empty_moments(params)
    before: dict = {"traced": dict(COUNTS)}
    seen = jax.jit(observe if mesh is None else on_mesh(mesh, checked))
    if mesh is not None:
        everywhere = NamedSharding(mesh, P())
        moments = jax.device_put(moments, everywhere)
        if weights is None:
            params, state = jax.device_put((params, state), everywhere)
        else:
            params = jax.tree.map(lambda p, s: jax.device_put(p, s), params, weights)
            state = jax.device_put(state, everywhere)
            state = sharded(state, mesh)
    for task in range(TASKS):
        x, y = data(task)
        if mesh is not None:
            x, y = jax.device_put((x, y), NamedSharding(mesh, P("data")))
        for _ in range(3):
            params, state = step(params, state, x, y)
        moments = seen(moments, params, x, y)
        state = end_task(state, moments)
        if weights is not None and mesh is not None:
            state = sharded(state, mesh)
    traced = {name: COUNTS[name] - before["traced"][name] for name in COUNTS}
    return params, moments, rgo_jax.projection_state(state), traced


def observe(moments: dict, params: dict, x: Array, y: Array) -> dict:
    COUNTS["observe"] += 1
    vectors = rgo_jax.curvature_vectors(score, params, (x, y))
    return rgo_jax.observe(moments, vectors)


def on_mesh(mesh: jax.sharding.Mesh, checked: bool = True):
    """Return `observe`, each device with its own samples."""

    def part(moments: dict, params: dict, x: Array, y: Array) -> dict:
        COUNTS["observe"] += 1
        vectors = rgo_jax.curvature_vectors(score, params, (x, y))
        own = rgo_jax.observe(rgo_jax.empty_moments(params), vectors)
        return rgo_jax.summed(own, "data", before=moments)

    specs = P(), P(), P("data"), P("data")
    return jax.shard_map(
        part, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=checked
    )


def tapped(kernel: Array, projection: Array, x: Array, y: Array) -> tuple:
    """Return the vectors of a tap, and the projected gradient of all samples."""

    def score(kernel: Array, **layer: Array) -> Array:
        return rgo_jax.softmax_score(rgo_jax.dense(x, kernel, **layer), y)

    taps = {"kernel": jnp.zeros(x.shape)}
    vectors = rgo_jax.tapped_vectors(lambda t: score(kernel, tap=t["kernel"]), taps)
    gradient = jax.grad(lambda k: score(k, projection=projection).sum())(kernel)
    return vectors["kernel"], gradient


def tapped_apart(mesh: jax.sharding.Mesh) -> float:
    """Return how far taps on a mesh are from those on one device."""
    x, y = data(0)
    kernel, projection = x[:, :CLASSES].T @ x, jnp.diag(jnp.arange(FEATURES) / FEATURES)
    kernel = kernel.T
    specs = P(), P(), P("data"), P("data")
    on_devices = jax.shard_map(
        tapped, mesh=mesh, in_specs=specs, out_specs=(P("data"), P())
    )
    given = kernel, projection, x, y
    places = (NamedSharding(mesh, spec) for spec in specs)
    placed = map(jax.device_put, given, places)
    return distance(jax.jit(on_devices)(*placed), tapped(*given))


def convolved(params: dict, x: Array, taps: dict | None = None) -> Array:
    """Return logits of maps (b, 4, 3, 1), by taps that there may be."""
    taps, images = taps or {}, x.reshape(-1, 4, 3, 1)
    maps = rgo_jax.conv(images, params["conv"], tap=taps.get("conv"))
    hidden = jnp.maximum(maps.mean((1, 2)), 0)
    return rgo_jax.dense(hidden, params["head"], tap=taps.get("head"))


def of_convolution(reduce: str, params: dict, x: Array, y: Array) -> dict:
    if reduce == "taps":
        zeros = {"conv": jnp.zeros((SAMPLES, 9)), "head": jnp.zeros((SAMPLES, 6))}
        return rgo_jax.tapped_vectors(
            lambda taps: rgo_jax.softmax_score(convolved(params, x, taps), y), zeros
        )
    axes = rgo_jax.Axes((0, 1, 2), (3,)), rgo_jax.Axes((0,), (1,))
    layout = rgo_jax.find_layout(params, dict(zip(params, axes, strict=True)))

    def score(params: dict, batch: tuple[Array, Array]) -> Array:
        return rgo_jax.softmax_score(convolved(params, batch[0]), batch[1])

    return rgo_jax.curvature_vectors(score, params, (x, y), layout=layout)


def convolutions(kind: jax.sharding.AxisType) -> dict:
    """Return how far vectors of samples that are sharded are from those of one device.

    Or what refused them; and whose samples are whole.
    """
    draw = np.random.default_rng(1)
    params = {
        "conv": jnp.asarray(draw.normal(size=(3, 3, 1, 6)), jnp.float32),
        "head": jnp.asarray(draw.normal(size=(6, CLASSES)), jnp.float32),
    }
    mesh = jax.make_mesh((4,), ("data",), axis_types=(kind,))
    whole, parted = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
    found: dict = {}
    expected = of_convolution("gradient", params, *data(0))
    for name, place in (("whole", whole), ("parted", parted)):
        for way in ("taps", "gradient"):
            for wrap in (jax.jit, lambda function: function)[: 1 + (way == "taps")]:
                given = jax.device_put(params, whole), *jax.device_put(data(0), place)
                with jax.set_mesh(mesh):
                    try:
                        vectors = wrap(partial(of_convolution, way))(*given)
                        answer: Any = distance(vectors, expected)
                    except (ValueError, jax.errors.JaxRuntimeError) as error:
                        answer = str(error)
                found.setdefault(f"{name} {way}", []).append(answer)
    return found


def explicit_step() -> float:
    """Return how far a layer's own projected gradient is from that of one device."""
    x, y = data(0)
    draw = np.random.default_rng(2)
    kernel = jnp.asarray(draw.normal(size=(FEATURES, CLASSES)), jnp.float32)
    projection = jnp.diag(jnp.arange(FEATURES) / FEATURES)

    def gradients(kernel: Array, projection: Array, x: Array, y: Array) -> tuple:
        def loss(kernel: Array, x: Array) -> Array:
            return losses(rgo_jax.dense(x, kernel, projection=projection), y).mean()

        return jax.grad(loss, (0, 1))(kernel, x)

    expected = gradients(kernel, projection, x, y)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    given = jax.device_put((kernel, projection), NamedSharding(mesh, P()))
    samples = jax.device_put((x, y), NamedSharding(mesh, P("data")))
    with jax.set_mesh(mesh):
        return distance(jax.jit(gradients)(*given, *samples), expected)


def sharded(state: tuple, mesh: jax.sharding.Mesh) -> tuple:
    """Place the rows of the first layer's P over the devices of the other axis."""
    rows = NamedSharding(mesh, P("model", None))

    def place(array: Array) -> Array:
        if array.shape == (FEATURES, FEATURES):
            return jax.device_put(array, rows)
        return array

    return jax.tree.map(place, state)


def distance(found: object, expected: object) -> float:
    parts = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    return max(
        float(np.linalg.norm(np.asarray(a) - np.asarray(b)))
        / max(float(np.linalg.norm(np.asarray(b))), 1e-300)
        for a, b in parts
    )


def make_mesh(shape: tuple[int, ...], names: tuple[str, ...]) -> jax.sharding.Mesh:
    """Return a mesh for which the compiler finds the shardings in between."""
    kinds = (jax.sharding.AxisType.Auto,) * len(names)
    return jax.make_mesh(shape, names, axis_types=kinds)


def main() -> None:
    one = learn(None)
    found = {}
    mesh = make_mesh((4,), ("data",))
    four = learn(mesh)
    found["data"] = [distance(a, b) for a, b in zip(four[:3], one[:3], strict=True)]
    found["traced"] = four[3]
    loose = learn(mesh, checked=False)
    found["loose"] = [distance(a, b) for a, b in zip(loose[:3], one[:3], strict=True)]
    found["taps"] = tapped_apart(mesh)
    kinds = jax.sharding.AxisType
    found["auto"] = convolutions(kinds.Auto)
    found["explicit"] = convolutions(kinds.Explicit)
    found["explicit step"] = explicit_step()
    explicit = jax.make_mesh((4,), ("data",), axis_types=(kinds.Explicit,))
    found["explicit taps"] = tapped_apart(explicit)
    mesh = make_mesh((2, 2), ("data", "model"))
    columns = NamedSharding(mesh, P(None, "model"))
    whole = NamedSharding(mesh, P())
    weights = {
        "first": {"kernel": columns, "bias": whole, "scale": whole},
        "last": {"kernel": NamedSharding(mesh, P("model", None))},
    }
    both = learn(mesh, weights)
    found["model"] = [distance(a, b) for a, b in zip(both[:3], one[:3], strict=True)]
    placed = both[2].weights["first/kernel"]
    found["shards"] = sorted({s.data.shape for s in placed.addressable_shards})
    found["devices"] = jax.device_count()
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
