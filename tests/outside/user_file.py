"""What a user writes: two small tasks with each backend, typed and run from outside.

`make try-wheel` runs it where nothing but the wheel is installed, `make lint` checks it
with `mypy --strict`, and the tests do both with what they are run on.
"""

import sys
from functools import partial
from importlib import import_module
from pathlib import Path

import jax
import numpy as np
import optax
import torch
from jax import Array
from torch import Tensor, nn

import rgo_core
import rgo_jax
import rgo_torch

PACKAGES = ("rgo_core", "rgo_torch", "rgo_jax", "rgo_bench")
EPOCHS = 10
TorchTask = list[tuple[Tensor, Tensor]]
JaxBatch = tuple[Array, Array]
JaxTask = list[JaxBatch]
Params = dict[str, dict[str, Array]]
Moments = dict[
    str, rgo_core.SecondMoment | rgo_core.DiagonalMoment | rgo_core.SketchedMoment
]


def remembered_by_torch(tasks: list[TorchTask]) -> float:
    """Learn task after task, and return the accuracy on the first."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    observe = partial(rgo_torch.second_moments, per="sample")
    rgo = rgo_torch.RGO(model, optimizer, damping=0.03, observe=observe, seed=0)
    for task, batches in enumerate(tasks):
        rgo.begin_task(task)
        for x, y in batches * EPOCHS:
            optimizer.zero_grad()
            loss: Tensor = nn.functional.cross_entropy(model(x), y)
            torch.autograd.backward(loss)
            optimizer.step()
        rgo.end_task(batches)
    room: dict[str, float] = rgo.plasticity()
    assert room["0.weight"] < 1
    assert "0.weight" in rgo.summary()
    rgo.load_state_dict(rgo.state_dict())
    with rgo.task(0), torch.no_grad():
        right = [(model(x).argmax(-1) == y).float().mean() for x, y in tasks[0]]
    return float(torch.stack(right).mean())


def remembered_by_jax(tasks: list[JaxTask]) -> float:
    """Learn task after task, and return the accuracy on the first."""
    first, last = jax.random.split(jax.random.key(0))
    params: Params = {
        "first": {"kernel": jax.random.normal(first, (16, 32)) / 4},
        "last": {"kernel": jax.random.normal(last, (32, 4)) / 32**0.5},
    }
    encoding = rgo_jax.make_encoding(32, tasks=len(tasks), name="first", seed=0)
    optimizer = optax.chain(rgo_jax.project_gradients(), optax.sgd(0.1))
    losses = optax.softmax_cross_entropy_with_integer_labels

    def logits(params: Params, x: Array, task: int | Array) -> Array:
        hidden = rgo_jax.encode(x @ params["first"]["kernel"], encoding, task)
        return jax.nn.relu(hidden) @ params["last"]["kernel"]

    @jax.jit
    def step(
        params: Params, state: optax.OptState, batch: JaxBatch, task: int
    ) -> tuple[Params, optax.OptState]:
        def loss(params: Params) -> Array:
            mean: Array = losses(logits(params, batch[0], task), batch[1]).mean()
            return mean

        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    @jax.jit
    def observe(
        moments: Moments, params: Params, batch: JaxBatch, task: int
    ) -> Moments:
        def score(params: Params, batch: JaxBatch) -> Array:
            return rgo_jax.softmax_score(logits(params, batch[0], task), batch[1])

        vectors = rgo_jax.curvature_vectors(score, params, batch)
        return rgo_jax.observe(moments, vectors)

    state, moments = optimizer.init(params), rgo_jax.empty_moments(params)
    for task, batches in enumerate(tasks):
        for batch in batches * EPOCHS:
            params, state = step(params, state, batch, task)
        for batch in batches:
            moments = observe(moments, params, batch, task)
        state = rgo_jax.end_task(state, moments)
    right = [(logits(params, x, 0).argmax(-1) == y).mean() for x, y in tasks[0]]
    return float(np.mean(right))


def projected_step() -> np.ndarray:
    """Return a step that the mathematics alone has turned away from one direction."""
    moment = rgo_core.observe(rgo_core.empty_moment(2), np.asarray([[3.0, 0.0]]))
    P = rgo_core.consolidate(moment, damping=1.0)
    step: np.ndarray = rgo_core.project(P, np.ones((2, 1)))
    return step


def drawn_task(task: int) -> tuple[np.ndarray, np.ndarray]:
    """Return samples whose largest of four features, other ones each task, counts."""
    x = np.random.default_rng(task).normal(size=(20, 10, 16)).astype(np.float32)
    return x, x[..., 4 * task : 4 * task + 4].argmax(-1)


def main() -> None:
    """Train with all packages; with --installed, check that none is a checkout's."""
    found = {name: Path(str(import_module(name).__file__)) for name in PACKAGES}
    for name, path in found.items():
        assert (path.parent / "py.typed").is_file(), f"{name} has no py.typed"
        if "--installed" in sys.argv:
            assert path.is_relative_to(sys.prefix), f"{name} is {path}"
    drawn = [drawn_task(task) for task in range(2)]
    torch_tasks = [
        [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in zip(*task, strict=True)]
        for task in drawn
    ]
    jax_tasks = [
        [
            (jax.numpy.asarray(x), jax.numpy.asarray(y))
            for x, y in zip(*task, strict=True)
        ]
        for task in drawn
    ]
    kept = {
        "rgo_torch": remembered_by_torch(torch_tasks),
        "rgo_jax": remembered_by_jax(jax_tasks),
    }
    for name, accuracy in kept.items():
        print(f"{name}: {accuracy:.2f} on the first of two tasks")
        assert accuracy > 0.7, f"{name} forgot its first task"
    free, closed = projected_step()[::-1, 0]
    assert free > 1 > closed, "rgo_core did not turn the step"
    print("rgo_core: the step is turned")


if __name__ == "__main__":
    main()
