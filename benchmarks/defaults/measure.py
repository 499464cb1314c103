"""What the defaults of `rgo_jax` hold: `python benchmarks/defaults/measure.py OUT`.

Digits, small networks of Flax nnx that are no perceptrons, SGD and AdamW: the plain
optimizer; RGO with the plain mean over outputs and the damping of perceptrons,
which were the defaults before; and RGO as it is by default. ACC / BWT / learning
accuracy in percent, mean and deviation over seeds.
"""

import argparse
from collections.abc import Callable, Mapping
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
from rgo_jax.nnx import FeatureEncoding

TASKS, WIDTH = 5, 64
# The options of the curvature vectors and of the end of a task; None: no RGO.
VARIANTS: Mapping[str, tuple[dict[str, Any], dict[str, Any]] | None] = {
    "plain": None,
    "mean, 0.1": ({"reduce": "mean"}, {"damping": 0.1}),
    "default": ({}, {}),
}
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

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.convs = nnx.List(
            nnx.Conv(n, m, (3, 3), strides=2, use_bias=False, rngs=rngs)
            for n, m in ((1, 16), (16, 32))
        )
        self.dense = nnx.Linear(128, WIDTH, rngs=rngs)
        self.encodings = nnx.List(encodings("0", "1", "dense", widths=(16, 32, WIDTH)))
        self.head = nnx.Linear(WIDTH, 10, rngs=rngs)

    def __call__(self, x: Array, task: Array) -> Array:
        """Return the logits of rows (b, 64)."""
        x = x.reshape(-1, 8, 8, 1)
        for conv, encode in zip(self.convs, self.encodings, strict=False):
            x = nnx.relu(encode(conv(x), task))
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


# With what each learns: pixels in another order, or pictures turned by 36 degrees more.
NETWORKS: Mapping[str, tuple[Callable[[nnx.Rngs], Any], str]] = {
    "layer-norm": (Normalised, "permuted-digits"),
    "conv": (Convolutional, "permuted-digits"),
    "vit": (Transformer, "rotated-digits"),
}


def encodings(*names: str, widths: tuple[int, ...] = ()) -> list[FeatureEncoding]:
    """Return the permutations of layers by their names."""
    sizes = widths or (WIDTH,) * len(names)
    return [
        FeatureEncoding(n, tasks=TASKS, name=name)
        for name, n in zip(names, sizes, strict=True)
    ]


def measure(network: str, optimizer: str, variant: str, seed: int) -> list[float]:
    """Learn all tasks; return ACC, BWT and the learning accuracy."""
    chosen, (make, stream_name) = VARIANTS[variant], NETWORKS[network]
    model = make(nnx.Rngs(seed))
    layout = rgo_jax.find_layout(model)
    opt = OPTIMIZERS[optimizer](rgo_jax.project_gradients(layout))
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    def logits(params: Any, x: Array, task: Array) -> Array:
        found: Array = nnx.merge(graph, params, rest)(x, task)
        return found

    @jax.jit
    def train(params: Any, state: Any, x: Array, y: Array, task: Array) -> Any:
        def step(carry: Any, batch: Any) -> Any:
            def loss(params: Any) -> Array:
                of = optax.softmax_cross_entropy_with_integer_labels
                return of(logits(params, batch[0], task), batch[1]).mean()

            params, state = carry
            updates, state = opt.update(jax.grad(loss)(params), state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, state), (x, y))[0]

    @jax.jit
    def observe(moments: Any, params: Any, x: Array, y: Array, task: Array) -> Any:
        assert chosen is not None

        def score(params: Any, batch: Any) -> Array:
            return rgo_jax.softmax_score(logits(params, batch[0], task), batch[1])

        vectors = rgo_jax.curvature_vectors(
            score, params, (x, y), layout=layout, **chosen[0]
        )
        return rgo_jax.observe(moments, vectors)

    @jax.jit
    def accuracy(params: Any, x: Array, y: Array, task: Array) -> Array:
        return (logits(params, x, task).argmax(-1) == y).mean()

    stream = make_stream(stream_name, seed=seed, tasks=TASKS)
    state, moments = opt.init(params), rgo_jax.empty_moments(params, layout)
    table = np.full((TASKS, TASKS), np.nan)
    for number in range(TASKS):
        task, (x, y) = jnp.asarray(number), stream.train(number)
        rng = np.random.default_rng([seed, number])
        order = np.concatenate([rng.permutation(len(y)) for _ in range(8)])
        rows = order.reshape(-1, stream.batch)
        params, state = train(params, state, x[rows], y[rows], task)
        if chosen is not None:
            for part in np.split(np.arange(len(y)), len(y) // 100):
                moments = observe(moments, params, x[part], y[part], task)
            state = rgo_jax.end_task(state, moments, **chosen[1])
        for old in range(number + 1):
            test = stream.test(old)
            table[number, old] = accuracy(params, *test, jnp.asarray(old))
    measured = (
        rgo_core.average_accuracy,
        rgo_core.backward_transfer,
        rgo_core.learning_accuracy,
    )
    return [round(100 * float(each(table)), 2) for each in measured]


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    rows = []
    for network in NETWORKS:
        for optimizer in OPTIMIZERS:
            for variant in VARIANTS:
                runs = [measure(network, optimizer, variant, seed) for seed in seeds]
                named = {"network": network, "optimizer": optimizer, "rgo": variant}
                rows.append({**named, "runs": runs})
                print(*named.values(), np.mean(runs, axis=0).round(1), flush=True)
    environment = describe_environment("jax", device="cpu", threads=1)
    out = parser.parse_args().out
    write_json(out, {"rows": rows, "environment": environment})


if __name__ == "__main__":
    main()
