"""The compiled programs of a run: train, observe, end, test."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

import rgo_jax
from rgo_bench.methods.rgo import RGOOptions
from rgo_bench.runs.jit.network import Context, Network, Params
from rgo_core.vectors import Reduce

Moments = dict[str, Any]  # of second moments, in the form that each layer keeps
Vectors = dict[str, Array]  # of curvature vectors, a row each


class Learner(NamedTuple):
    """All that training changes, and the permutations, which it does not."""

    params: Params
    state: Any  # of the optimizer
    encodings: dict[str, rgo_jax.Encoding]


class Task(NamedTuple):
    """A task's samples, on the device."""

    number: Array  # () int32, from 0
    mask: Array  # (classes,) bool
    x: Array  # (N, ...)
    y: Array  # (N,)


class Program(NamedTuple):
    """Pure functions; with several seeds their arguments are stacked."""

    begin: Callable[..., Any]  # (params, encodings) -> Learner
    train: Callable[..., Any]  # (Learner, Task, rows, weights) -> Learner
    observe: Callable[..., Any]  # (Learner, Task, moments) -> moments
    end: Callable[..., Any]  # (Learner, moments) -> Learner
    test: Callable[..., Any]  # (Learner, Task) -> right, finite


def make_program(
    network: Network,
    *,
    lr: float,
    batch: int,
    options: RGOOptions | None,
    share: float = 1.0,
    mapped: bool,
) -> Program:
    """Compile for a network, for RGO with resolved `options`, or for plain SGD.

    The samples observed are a `share` of those that they stand for. With `mapped` every
    function takes several seeds at once, stacked along the first axis of all arguments
    but the task's index.
    """
    optimizer, rgo = optax.sgd(lr), options is not None
    if rgo:
        projected = rgo_jax.project_gradients(network.layout, factored=network.dense)
        optimizer = optax.chain(projected, optimizer)
    task = Task(number=None, mask=0, x=0, y=0)  # type: ignore[arg-type]

    def compiled(function: Callable[..., Any], axes: Any, *given: Any) -> Any:
        function = partial(function, *given)
        return jax.jit(jax.vmap(function, in_axes=axes) if mapped else function)

    return Program(
        begin=compiled(_begin, 0, optimizer),
        train=compiled(_train, (0, task, 0, 0), network, optimizer, rgo),
        observe=compiled(_observe, (0, task, 0), network, options, batch, share),
        end=compiled(_end, 0, options),
        test=compiled(_test, (0, task), network),
    )


def _begin(
    optimizer: Any, params: Params, encodings: dict[str, rgo_jax.Encoding]
) -> Learner:
    return Learner(params, optimizer.init(params), encodings)


def _train(
    network: Network,
    optimizer: Any,
    projects: bool,
    learner: Learner,
    task: Task,
    rows: Array,
    weights: Array,
) -> Learner:
    """Take a step for each row of `rows` (steps, batch); weight 0 fills up a batch."""

    def step(learner: Learner, taken: tuple[Array, Array]) -> tuple[Learner, None]:
        indices, weight = taken
        projections: dict[str, Array] = {}
        if projects:
            of_weights = rgo_jax.projection_state(learner.state).weights
            projections = {path: of_weights[path] for path in network.dense}
        context = Context(task.number, learner.encodings, projections)

        def loss(params: Params) -> Array:
            logits = _logits(network, params, task.x[indices], task.mask, context)
            each = optax.losses.softmax_cross_entropy_with_integer_labels(
                logits, task.y[indices]
            )
            mean: Array = (each * weight).sum() / weight.sum()
            return mean

        gradient = jax.grad(loss)(learner.params)
        updates, state = optimizer.update(gradient, learner.state, learner.params)
        params = optax.apply_updates(learner.params, updates)
        return Learner(params, state, learner.encodings), None

    learner, _ = jax.lax.scan(step, learner, (rows, weights))
    return learner


def _observe(
    network: Network,
    options: RGOOptions | None,
    batch: int,
    share: float,
    learner: Learner,
    task: Task,
    moments: Moments,
) -> Moments:
    """Add the curvature vectors of the task's samples to the second moments."""
    assert options is not None  # plain SGD observes nothing
    per, curvature = options.per, options.curvature
    assert per  # resolved
    assert curvature
    # As PyTorch's pass does.
    reduce: Reduce = "mean" if curvature == "exact" else "uncancelled"
    if options.reduce == "rms":
        reduce = "rms"
    by_squares = reduce == "rms" and network.convolves  # of which no tap takes all

    def score(params: Params, samples: tuple[Array, Array], taps: Any = None) -> Array:
        x, y = samples
        mask = task.mask
        if options.softmax == "present":
            mask = jnp.zeros_like(mask).at[y].set(True)
        context = Context(task.number, learner.encodings)
        if taps:
            context = context._replace(taps=taps, reduce=reduce)
        logits = _logits(network, params, x, mask, context)
        return rgo_jax.softmax_score(logits, y, curvature=curvature, mask=mask)

    of_group = partial(
        rgo_jax.curvature_vectors,
        *(score, learner.params),
        layout=network.layout,
        per=per,
        reduce=reduce,
    )
    if per == "sample" and by_squares:
        return _by_squares(of_group, task, batch, moments, share)
    if per == "sample":
        of_taps = partial(score, learner.params, (task.x, task.y))
        vectors = _of_samples(of_taps, task, moments)
    else:
        vectors = _of_batches(of_group, task, batch)
    return rgo_jax.observe(moments, vectors, share=share)


def _of_samples(score: Callable[..., Array], task: Task, moments: Moments) -> Vectors:
    """Return the curvature vectors of all samples, by one backward pass to taps."""
    taps = {
        path: jnp.zeros((len(task.y), moment.matrix.shape[-1]), task.x.dtype)
        for path, moment in moments.items()
    }
    return rgo_jax.tapped_vectors(score, taps)


def _by_squares(
    of_group: Callable[..., Vectors],
    task: Task,
    batch: int,
    moments: Moments,
    share: float,
) -> Moments:
    """Add the root mean squares of all samples, a few at a time: a row each output."""
    few = max(n for n in range(1, batch + 1) if len(task.y) % n == 0)

    def add(moments: Moments, group: tuple[Array, Array]) -> tuple[Moments, None]:
        return rgo_jax.observe(moments, of_group(group), share=share), None

    with jax.enable_x64(True):  # moments stay what they are
        return jax.lax.scan(add, moments, _grouped(task, few))[0]


def _of_batches(of_group: Callable[..., Vectors], task: Task, batch: int) -> Vectors:
    """Return a curvature vector for each mini-batch."""
    vectors = jax.lax.map(of_group, _grouped(task, batch))
    return {path: rows.reshape(-1, rows.shape[-1]) for path, rows in vectors.items()}


def _end(options: RGOOptions | None, learner: Learner, moments: Moments) -> Learner:
    assert options is not None  # plain SGD ends nothing
    given = options.arguments()
    chosen = {name: given[name] for name in ("damping", "normalize")}
    state = rgo_jax.end_task(learner.state, moments, **chosen)
    return learner._replace(state=state)


def _test(network: Network, learner: Learner, task: Task) -> tuple[Array, Array]:
    """Return how many samples are right, and whether no logit is NaN."""
    context = Context(task.number, learner.encodings)
    logits = _logits(network, learner.params, task.x, task.mask, context)
    right = (logits.argmax(-1) == task.y).sum()
    return right, ~jnp.isnan(logits).any()


def _logits(
    network: Network, params: Params, x: Array, mask: Array, context: Context
) -> Array:
    return jnp.where(mask, network.apply(params, x, context), -jnp.inf)


def _grouped(task: Task, batch: int) -> tuple[Array, Array]:
    """Return samples in groups of `batch`, or of all where there are fewer."""
    groups = -1, min(batch, len(task.y))
    return task.x.reshape(*groups, *task.x.shape[1:]), task.y.reshape(groups)
