"""Steps of JAX: many at once as one program, by `lax.scan`."""

import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rgo_jax
from rgo_bench.measure.subjects import CLASSES
from rgo_bench.methods.rgo import RGOOptions
from rgo_bench.networks import NETWORKS
from rgo_bench.runs.jit.network import channels_last, convert_network, convert_params
from rgo_bench.runs.jit.program import Program, Task, make_program

OBSERVED = 100  # samples of the curvature pass before RGO's steps


def time_jax_step(
    network: str,
    shape: Sequence[int],
    batch: int,
    device: str,
    steps: int,
    *,
    repeats: int = 3,
) -> dict[str, float]:
    """Return the milliseconds of a step of SGD and of RGO in its second task.

    Parameters
    ----------
    network : str
        One of `rgo_bench.networks.NETWORKS` that is a Sequential.
    shape : sequence of int
        Of one sample.
    batch : int
    device : str
        ``"cpu"`` or ``"cuda"``.
    steps : int
        Of one program.
    repeats : int
        How often it is timed; the median counts.

    Returns
    -------
    dict
        ``"sgd"`` and ``"rgo"``; compiling is not counted.
    """
    kind = "gpu" if device == "cuda" else device
    rgo = RGOOptions().resolved(network, samples=batch * steps)
    with jax.default_device(jax.devices(kind)[0]):
        return {
            name: _time(network, tuple(shape), batch, steps, repeats, options)
            for name, options in (("sgd", None), ("rgo", rgo))
        }


def _time(
    network: str,
    shape: tuple[int, ...],
    batch: int,
    steps: int,
    repeats: int,
    options: RGOOptions | None,
) -> float:
    module = NETWORKS[network](shape, CLASSES, 0)
    program = make_program(
        convert_network(module), lr=1e-3, batch=batch, options=options, mapped=False
    )
    params = jax.tree.map(jnp.asarray, convert_params(module))
    learner = program.begin(params, {})
    task = _task(shape, max(OBSERVED, batch))
    if options is not None:
        learner = _second_task(program, learner, task, params)
    rows = np.random.default_rng(0).integers(len(task.y), size=(steps, batch))
    order = jnp.asarray(rows, jnp.int32), jnp.ones((steps, batch), jnp.float32)
    times = []
    for _ in range(1 + repeats):  # the first compiles
        start = time.perf_counter()
        jax.block_until_ready(program.train(learner, task, *order))
        times.append((time.perf_counter() - start) / steps)
    return 1e3 * median(times[1:])


def _task(shape: tuple[int, ...], count: int) -> Task:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((count, *shape)).astype(np.float32)
    return Task(
        jnp.asarray(0, jnp.int32),
        jnp.ones(CLASSES, bool),
        jnp.asarray(channels_last(x)),
        jnp.asarray(generator.integers(CLASSES, size=count), jnp.int32),
    )


def _second_task(program: Program, learner: Any, task: Task, params: Any) -> Any:
    """Observe and consolidate, so that every projection is dense."""
    with jax.enable_x64(True):
        moments = rgo_jax.empty_moments(params)
    part = task._replace(x=task.x[:OBSERVED], y=task.y[:OBSERVED])
    return program.end(learner, program.observe(learner, part, moments))
