"""PyTorch and JAX against one reference: 200 steps, a curvature pass, 200 more."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import rgo_core

torch = pytest.importorskip("torch")
jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402

import rgo_jax  # noqa: E402
import rgo_torch  # noqa: E402

WIDTHS = (12, 16, 16, 4)
LR, BATCH, STEPS, DAMPING, SEED = 0.1, 8, 200, 0.03, 3
NAMES = ("0", "2", "4")  # of the linear layers, between them ReLU
Weights = dict[str, tuple[np.ndarray, np.ndarray]]  # kernel (n, m), bias


class Task(NamedTuple):
    """The batches of a task: x (steps, batch, n), y (steps, batch)."""

    x: np.ndarray
    y: np.ndarray


def initial_weights() -> Weights:
    generator = np.random.default_rng(0)
    return {
        name: (
            generator.uniform(-1, 1, (n, m)) / n**0.5,
            generator.uniform(-1, 1, m) / n**0.5,
        )
        for name, (n, m) in zip(NAMES, itertools.pairwise(WIDTHS), strict=True)
    }


def draw_tasks() -> list[Task]:
    """Draw two tasks: the classes of noisy prototypes, shuffled in the second."""
    generator = np.random.default_rng(1)
    prototypes = generator.normal(size=(2, WIDTHS[-1], WIDTHS[0]))
    tasks = []
    for index in range(2):
        y = generator.integers(WIDTHS[-1], size=(STEPS, BATCH))
        noise = generator.normal(size=(STEPS, BATCH, WIDTHS[0]))
        # Numbers that float32 holds, so that all start from the same.
        x = (prototypes[index][y] + noise).astype(np.float32).astype(np.float64)
        tasks.append(Task(x, y))
    return tasks


# --- the reference: NumPy, float64, by hand


def reference(weights: Weights, tasks: list[Task]) -> Weights:
    """Train with the formulas of the paper."""
    weights = {name: (k.copy(), b.copy()) for name, (k, b) in weights.items()}
    projections = {
        name: (np.eye(len(k)), np.eye(len(b))) for name, (k, b) in weights.items()
    }
    for index, task in enumerate(tasks):
        for x, y in zip(*task, strict=True):
            inputs, outputs = forward(weights, x, index)
            p = np.exp(outputs - outputs.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            towards = (p - np.eye(len(p[0]))[y]) / len(y)
            for name, D in backward(weights, inputs, towards, index).items():
                kernel, bias = weights[name]
                P, Q = projections[name]
                kernel -= LR * P @ (inputs[name].T @ D)
                bias -= LR * Q @ D.sum(0)
        projections = consolidated(weights, task, index)
    return weights


def forward(weights: Weights, x: np.ndarray, task: int) -> tuple[Any, np.ndarray]:
    inputs = {}
    for name in NAMES:
        inputs[name] = x
        x = x @ weights[name][0] + weights[name][1]
        if name != NAMES[-1]:
            x = np.maximum(x[:, order(name, x.shape[1], task)], 0)
    return inputs, x


def backward(
    weights: Weights, inputs: dict[str, np.ndarray], towards: np.ndarray, task: int
) -> dict[str, np.ndarray]:
    found = {}
    for name, earlier in zip(NAMES[::-1], (*NAMES[-2::-1], None), strict=True):
        found[name] = towards
        if earlier is not None:
            towards = (towards @ weights[name][0].T) * (inputs[name] > 0)
            back = np.argsort(order(earlier, towards.shape[1], task))
            towards = towards[:, back]
    return found


def order(name: str, width: int, task: int) -> np.ndarray:
    return rgo_core.task_permutation(width, task=task, name=name, seed=SEED)


def consolidated(weights: Weights, task: Task, index: int) -> Any:
    """Return P of the one task that is ever consolidated before more training."""
    moments: dict[str, Any] = {
        name: (np.zeros((len(k),) * 2), np.zeros((len(b),) * 2))
        for name, (k, b) in weights.items()
    }
    for x, y in zip(*task, strict=True):
        inputs, outputs = forward(weights, x, index)
        p = np.exp(outputs - outputs.max(1, keepdims=True))
        p = (p / p.sum(1, keepdims=True))[np.arange(len(y)), y]
        towards = np.eye(outputs.shape[1])[y] * np.sqrt(p * (1 - p))[:, None]
        for name, D in backward(weights, inputs, towards, index).items():
            H, K = moments[name]
            for row, column in zip(inputs[name], D, strict=True):
                g = row * column.mean()
                H += np.outer(g, g)
                K += np.outer(column, column)
    projections = {}
    for name, (H, K) in moments.items():
        P = np.linalg.inv(np.eye(len(H)) + H / DAMPING)
        Q = np.linalg.inv(np.eye(len(K)) + K / DAMPING)
        projections[name] = (P * len(P) / np.trace(P), Q)
    return projections


# --- the two backends


def with_torch(weights: Weights, tasks: list[Task], dtype: str) -> Weights:
    kind = getattr(torch, dtype)
    layers: list[Any] = []
    for n, m in itertools.pairwise(WIDTHS):
        layers += [torch.nn.Linear(n, m, dtype=kind), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    with torch.no_grad():
        for name, (kernel, bias) in weights.items():
            layer = model.get_submodule(name)
            layer.weight.copy_(torch.from_numpy(kernel.T))
            layer.bias.copy_(torch.from_numpy(bias))
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    options: Any = {"damping": DAMPING, "normalize": "weights"}
    rgo = rgo_torch.RGO(model, optimizer, seed=SEED, **options)
    for index, task in enumerate(tasks):
        x, y = torch.from_numpy(task.x).to(kind), torch.from_numpy(task.y)
        rgo.begin_task(index)
        for batch in zip(x, y, strict=True):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
            optimizer.step()
        rgo.end_task([(x.flatten(0, 1), y.flatten())])
    return {
        name: (
            model.get_submodule(name).weight.detach().double().numpy().T,
            model.get_submodule(name).bias.detach().double().numpy(),
        )
        for name in NAMES
    }


def with_jax(
    weights: Weights, tasks: list[Task], dtype: str, *, factored: bool
) -> Weights:
    params = {
        name: {"kernel": jnp.asarray(kernel, dtype), "bias": jnp.asarray(bias, dtype)}
        for name, (kernel, bias) in weights.items()
    }
    kernels = [f"{name}/kernel" for name in NAMES] if factored else []
    projected = rgo_jax.project_gradients(factored=kernels)
    optimizer = optax.chain(projected, optax.sgd(LR))
    learn = jax_learner(jax_network(), optimizer, factored=factored)
    state, moments = optimizer.init(params), rgo_jax.empty_moments(params)
    for index, task in enumerate(tasks):
        arrays = jnp.asarray(task.x, dtype), jnp.asarray(task.y)
        learned = learn(params, state, moments, jnp.asarray(index), *arrays)
        params, state, moments = learned
    return {
        name: (
            np.asarray(params[name]["kernel"], np.float64),
            np.asarray(params[name]["bias"], np.float64),
        )
        for name in NAMES
    }


def jax_network() -> Callable[..., Any]:
    encodings = {
        name: rgo_jax.make_encoding(width, tasks=2, name=name, seed=SEED)
        for name, width in zip(NAMES[:-1], WIDTHS[1:-1], strict=True)
    }

    def network(params: Any, x: Any, task: Any, projections: Any = None) -> Any:
        for name in NAMES:
            P = None if projections is None else projections[f"{name}/kernel"]
            kernel, bias = params[name]["kernel"], params[name]["bias"]
            x = rgo_jax.dense(x, kernel, projection=P) + bias
            if name in encodings:
                x = jax.nn.relu(rgo_jax.encode(x, encodings[name], task))
        return x

    return network


def jax_learner(
    network: Callable[..., Any], optimizer: Any, *, factored: bool
) -> Callable[..., Any]:
    """Return what learns a task: compiled once, for all of them."""

    def step(carry: Any, batch: Any) -> Any:
        params, state, task = carry
        projections = rgo_jax.projection_state(state).weights if factored else None

        def loss(params: Any) -> Any:
            logits = network(params, batch[0], task, projections)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch[1])
            return losses.mean()

        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return (optax.apply_updates(params, updates), state, task), None

    @jax.jit
    def learn(params: Any, state: Any, moments: Any, task: Any, x: Any, y: Any) -> Any:
        params, state, _ = jax.lax.scan(step, (params, state, task), (x, y))[0]

        def score(params: Any, batch: Any) -> Any:
            return rgo_jax.softmax_score(network(params, batch[0], task), batch[1])

        seen = x.reshape(-1, x.shape[-1]), y.reshape(-1)
        vectors = rgo_jax.curvature_vectors(score, params, seen)
        moments = rgo_jax.observe(moments, vectors)
        options: Any = {"damping": DAMPING, "normalize": "weights"}
        return params, rgo_jax.end_task(state, moments, **options), moments

    return learn


def distance(found: Weights, expected: Weights) -> float:
    """Return the largest relative distance of any kernel or bias."""
    return max(
        float(np.linalg.norm(a - b) / np.linalg.norm(b))
        for name in NAMES
        for a, b in zip(found[name], expected[name], strict=True)
    )


@pytest.fixture(scope="module")
def tasks() -> list[Task]:
    return draw_tasks()


@pytest.fixture(scope="module")
def expected(tasks: list[Task]) -> Weights:
    return reference(initial_weights(), tasks)


BACKENDS = {
    "torch": with_torch,
    "jax": lambda *given: with_jax(*given, factored=False),
    "jax, factored": lambda *given: with_jax(*given, factored=True),
}


# 1e-10 is what is promised; 3e-14 was measured. In float32 all three ended 6e-7 from
# the reference, five units of rounding after 400 steps; ten times that is the bound.
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-10), ("float32", 6e-6)])
def test_both_backends_end_where_the_reference_does(
    backend: str, dtype: str, bound: float, tasks: list[Task], expected: Weights
) -> None:
    with jax.enable_x64(dtype == "float64"):
        found = BACKENDS[backend](initial_weights(), tasks, dtype)
    assert distance(found, expected) <= bound


def test_what_is_compared_moved_and_was_projected(
    tasks: list[Task], expected: Weights
) -> None:
    assert distance(expected, initial_weights()) > 0.1
    assert distance(reference_without_projection(tasks), expected) > 0.1


def reference_without_projection(tasks: list[Task]) -> Weights:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{__name__}.DAMPING", 1e12)
        return reference(initial_weights(), tasks)
