"""What the defaults of `rgo_jax` hold: `python benchmarks/defaults/measure.py OUT`.

Digits, small networks of Flax nnx that are no perceptrons, SGD and AdamW: the plain
optimizer; RGO with the plain mean over outputs and the damping of perceptrons,
which were the defaults before; and RGO as it is by default. Asked for by name, with SGD
alone: what is PyTorch's default there. ACC / BWT / learning accuracy in percent.
"""

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array

import rgo_core
import rgo_jax
from rgo_bench.records import describe_environment, write_json
from rgo_bench.streams import make_stream
from rgo_core.cotangents import Curvature
from rgo_core.damping import LIMITED_DAMPING
from rgo_core.vectors import Reduce
from rgo_jax.nnx import FeatureEncoding

TASKS, WIDTH = 5, 64
# What is taken over the outputs, of which curvature, and the options of the end of a
# task; None: no RGO.
VARIANTS: Mapping[str, tuple[Reduce, Curvature, dict[str, Any]] | None] = {
    "plain": None,
    "mean, 0.1": ("mean", "ground-truth", {"damping": 0.1}),
    "default": ("uncancelled", "ground-truth", {}),
}
PLAIN_DAMPING = rgo_core.measured_damping("sample", "rms", scaled=False, floored=True)
# With SGD, of networks with other layers than convolutions, and without.
PYTORCH = "rms, floored"
PYTORCHS = ("rms", "floored", {"damping": LIMITED_DAMPING})
PYTORCHS_CONV = ("rms", "floored", {"damping": PLAIN_DAMPING})
# Where running statistics are those of the last task, in place of each task's own.
LAST = "default, last statistics"
# What is projected is the gradient before SGD, the update after AdamW.
OPTIMIZERS: Mapping[str, Callable[[Any], Any]] = {
    "sgd": lambda projected: optax.chain(projected, optax.sgd(0.1)),
    "adamw": lambda projected: optax.chain(optax.adamw(1e-3), projected),
}


class Normalised(nnx.Module):
    """Two hidden layers, each before a layer normalisation."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(64, WIDTH, rngs=rngs)
        self.second = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.norms = nnx.List([nnx.LayerNorm(WIDTH, rngs=rngs) for _ in range(2)])
        self.encodings = nnx.List(encodings("first", "second"))
        self.head = nnx.Linear(WIDTH, 10, rngs=rngs)

    def __call__(self, x: Array, task: Array) -> Array:
        """Return the logits of rows (b, 64)."""
        layers = (self.first, self.second)
        for layer, norm, encode in zip(layers, self.norms, self.encodings, strict=True):
            x = nnx.relu(encode(norm(layer(x)), task))
        return self.head(x)


class Convolutional(nnx.Module):
    """Two convolutions of the digits' 8 x 8 pixels, and a dense layer."""

    def __init__(self, rngs: nnx.Rngs, *, normalised: bool = False) -> None:
        self.convs = nnx.List(
            nnx.Conv(n, m, (3, 3), strides=2, use_bias=False, rngs=rngs)
            for n, m in ((1, 16), (16, 32))
        )
        self.norms = nnx.List(
            nnx.BatchNorm(width, rngs=rngs) if normalised else nnx.identity
            for width in (16, 32)
        )
        self.dense = nnx.Linear(128, WIDTH, rngs=rngs)
        self.encodings = nnx.List(encodings("0", "1", "dense", widths=(16, 32, WIDTH)))
        self.head = nnx.Linear(WIDTH, 10, rngs=rngs)

    def __call__(self, x: Array, task: Array) -> Array:
        """Return the logits of rows (b, 64)."""
        x = x.reshape(-1, 8, 8, 1)
        layers = zip(self.convs, self.norms, self.encodings, strict=False)
        for conv, norm, encode in layers:
            x = nnx.relu(encode(norm(conv(x)), task))
        x = self.dense(x.reshape(len(x), -1))
        return self.head(nnx.relu(self.encodings[-1](x, task)))


class Block(nnx.Module):
    """Attention and two dense layers, each with its shortcut."""

    def __init__(self, name: str, rngs: nnx.Rngs) -> None:
        self.attention = nnx.MultiHeadAttention(4, WIDTH, decode=False, rngs=rngs)
        self.wide = nnx.Linear(WIDTH, 2 * WIDTH, rngs=rngs)
        self.narrow = nnx.Linear(2 * WIDTH, WIDTH, rngs=rngs)
        self.norms = nnx.List([nnx.LayerNorm(WIDTH, rngs=rngs) for _ in range(2)])
        names, widths = ("attention", "wide", "narrow"), (WIDTH, 2 * WIDTH, WIDTH)
        named = (f"{name}.{own}" for own in names)
        self.encodings = nnx.List(encodings(*named, widths=widths))

    def __call__(self, x: Array, task: Array) -> Array:
        """Return the tokens (b, p, WIDTH) after the block."""
        attended, wide, narrow = self.encodings
        x = self.norms[0](x + attended(self.attention(x), task))
        hidden = nnx.relu(wide(self.wide(x), task))
        return self.norms[1](x + narrow(self.narrow(hidden), task))


class Transformer(nnx.Module):
    """Two blocks over sixteen patches of 2 x 2 pixels."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.patches = nnx.Linear(4, WIDTH, rngs=rngs)
        self.positions = nnx.Param(0.02 * jax.random.normal(rngs.params(), (16, WIDTH)))
        self.encoding = encodings("patches")[0]
        self.blocks = nnx.List([Block(str(number), rngs) for number in range(2)])
        self.head = nnx.Linear(WIDTH, 10, rngs=rngs)

    def __call__(self, x: Array, task: Array) -> Array:
        """Return the logits of rows (b, 64)."""
        x = x.reshape(-1, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 16, 4)
        x = self.encoding(self.patches(x), task) + self.positions[...]
        for block in self.blocks:
            x = block(x, task)
        return self.head(x.mean(1))


class Recurrent(nnx.Module):
    """A GRU over the digits' eight rows; its states are permuted as they go on."""

    def __init__(self, rngs: nnx.Rngs, *, recurrence: bool = True) -> None:
        self.dense_i = nnx.Linear(8, 3 * WIDTH, rngs=rngs)
        self.dense_h = nnx.Linear(WIDTH, 3 * WIDTH, rngs=rngs)
        self.head = nnx.Linear(WIDTH, 10, rngs=rngs)
        self.encodings = nnx.List(encodings("recurrence", "last"))
        self.is_encoded = recurrence

    def __call__(self, x: Array, task: Array) -> Array:
        """Return the logits of rows (b, 64)."""
        inside, last = self.encodings

        def step(state: Array, row: Array) -> tuple[Array, None]:
            before = inside(state, task) if self.is_encoded else state
            given, kept = self.dense_i(row), self.dense_h(before)
            (r, z, n), (r_h, z_h, n_h) = (jnp.split(g, 3, -1) for g in (given, kept))
            keep = nnx.sigmoid(z + z_h)
            new = jnp.tanh(n + nnx.sigmoid(r + r_h) * n_h)
            return (1 - keep) * new + keep * state, None

        rows = x.reshape(-1, 8, 8).swapaxes(0, 1)
        state, _ = jax.lax.scan(step, jnp.zeros((len(x), WIDTH)), rows)
        return self.head(last(state, task))


# With what each learns: pixels in another order, or pictures turned by 36 degrees more.
NETWORKS: Mapping[str, tuple[Callable[[nnx.Rngs], Any], str]] = {
    "layer-norm": (Normalised, "permuted-digits"),
    "conv": (Convolutional, "permuted-digits"),
    "batch-norm": (partial(Convolutional, normalised=True), "permuted-digits"),
    "vit": (Transformer, "rotated-digits"),
    "gru": (Recurrent, "permuted-digits"),
    "gru, recurrence in order": (
        partial(Recurrent, recurrence=False),
        "permuted-digits",
    ),
}


def encodings(*names: str, widths: tuple[int, ...] = ()) -> list[FeatureEncoding]:
    """Return the permutations of layers by their names."""
    sizes = widths or (WIDTH,) * len(names)
    return [
        FeatureEncoding(n, tasks=TASKS, name=name)
        for name, n in zip(names, sizes, strict=True)
    ]


class Learner:
    """A network with its optimizer, as compiled functions of their states."""

    def __init__(self, make: Callable[[nnx.Rngs], Any], optimizer: str, seed: int):
        model = make(nnx.Rngs(seed))
        self.layout = rgo_jax.find_layout(model)
        projected = rgo_jax.project_gradients(self.layout)
        self.optimizer = OPTIMIZERS[optimizer](projected)
        model.train()
        self.training, self.params, self.statistics, self.rest = nnx.split(
            model, nnx.Param, nnx.BatchStat, ...
        )
        model.eval()
        self.tested = nnx.graphdef(model)

    def logits(self, graph: Any, given: Any, x: Array, task: Array) -> Any:
        """Return the logits, and the running statistics after them."""
        model = nnx.merge(graph, *given, self.rest, copy=True)
        found = model(x, task)
        return found, nnx.state(model, nnx.BatchStat)

    @partial(jax.jit, static_argnums=0)
    def train(self, carry: Any, x: Array, y: Array, task: Array) -> Any:
        """Take steps from parameters, the optimizer's state and statistics."""

        def step(carry: Any, batch: Any) -> Any:
            params, state, statistics = carry

            def loss(params: Any) -> Any:
                given, of = (params, statistics), batch[1]
                found, after = self.logits(self.training, given, batch[0], task)
                losses = optax.softmax_cross_entropy_with_integer_labels(found, of)
                return losses.mean(), after

            gradient, statistics = jax.grad(loss, has_aux=True)(params)
            updates, state = self.optimizer.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state, statistics), None

        return jax.lax.scan(step, carry, (x, y))[0]

    @partial(jax.jit, static_argnums=(0, 1, 2))
    def observe(
        self,
        reduce: Reduce,
        curvature: Curvature,
        moments: Any,
        given: Any,
        batch: Any,
        task: Array,
    ) -> Any:
        """Add the curvature vectors of a batch."""
        params, statistics = given

        def score(params: Any, batch: Any) -> Array:
            given = params, statistics
            found, _ = self.logits(self.tested, given, batch[0], task)
            return rgo_jax.softmax_score(found, batch[1], curvature=curvature)

        vectors = rgo_jax.curvature_vectors(
            score, params, batch, layout=self.layout, reduce=reduce
        )
        return rgo_jax.observe(moments, vectors)

    @partial(jax.jit, static_argnums=0)
    def accuracy(self, given: Any, x: Array, y: Array, task: Array) -> Array:
        """Return how many samples are right."""
        found, _ = self.logits(self.tested, given, x, task)
        return (found.argmax(-1) == y).mean()


def measure(network: str, optimizer: str, variant: str, seed: int) -> list[float]:
    """Learn all tasks; return ACC, BWT and the learning accuracy."""
    if variant == PYTORCH:
        chosen = PYTORCHS_CONV if network == "conv" else PYTORCHS
    else:
        chosen = VARIANTS["default" if variant == LAST else variant]
    make, stream_name = NETWORKS[network]
    learner = Learner(make, optimizer, seed)
    stream = make_stream(stream_name, seed=seed, tasks=TASKS)
    params, statistics = learner.params, learner.statistics
    state = learner.optimizer.init(params)
    moments = rgo_jax.empty_moments(params, learner.layout)
    kept: list[Any] = []  # the running statistics of each task
    table = np.full((TASKS, TASKS), np.nan)
    for number in range(TASKS):
        task, (x, y) = jnp.asarray(number), stream.train(number)
        rng = np.random.default_rng([seed, number])
        order = np.concatenate([rng.permutation(len(y)) for _ in range(8)])
        rows = order.reshape(-1, stream.batch)
        params, state, statistics = learner.train(
            (params, state, statistics), x[rows], y[rows], task
        )
        kept.append(statistics)
        if chosen is not None:
            reduce, curvature, options = chosen
            for part in np.split(np.arange(len(y)), len(y) // 100):
                given, batch = (params, statistics), (x[part], y[part])
                moments = learner.observe(
                    reduce, curvature, moments, given, batch, task
                )
            state = rgo_jax.end_task(state, moments, **options)
        for old in range(number + 1):
            given = params, kept[-1 if variant == LAST else old]
            found = learner.accuracy(given, *stream.test(old), jnp.asarray(old))
            table[number, old] = found
    measured = (
        rgo_core.average_accuracy,
        rgo_core.backward_transfer,
        rgo_core.learning_accuracy,
    )
    return [round(100 * float(each(table)), 2) for each in measured]


def variants(network: str, optimizer: str, asked: str | None) -> list[str]:
    """Return those to measure: all but PyTorch's, or one that is asked for."""
    every = [*VARIANTS, *[LAST] * (network == "batch-norm")]
    if asked is None:
        return every
    if optimizer == "sgd":
        every.append(PYTORCH)
    return [asked] * (asked in every)


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--network", choices=NETWORKS)
    parser.add_argument("--rgo", choices=[*VARIANTS, LAST, PYTORCH])
    given = parser.parse_args()
    seeds = range(given.seeds)
    rows = []
    for network in [given.network] if given.network else NETWORKS:
        for optimizer in OPTIMIZERS:
            for variant in variants(network, optimizer, given.rgo):
                runs = [measure(network, optimizer, variant, seed) for seed in seeds]
                jax.clear_caches()  # else the programs of all fill the memory
                named = {"network": network, "optimizer": optimizer, "rgo": variant}
                rows.append({**named, "runs": runs})
                print(*named.values(), np.mean(runs, axis=0).round(1), flush=True)
    environment = describe_environment("jax", device="cpu", threads=1)
    write_json(given.out, {"rows": rows, "environment": environment})


if __name__ == "__main__":
    main()
