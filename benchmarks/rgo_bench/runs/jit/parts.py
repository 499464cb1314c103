"""What a run of the compiled programs is made of."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NoReturn

import jax
import numpy as np

from rgo_bench.methods.rgo import RGOOptions
from rgo_bench.networks import NETWORKS
from rgo_bench.runs.jit.network import Network, convert_network
from rgo_bench.runs.jit.program import Program, make_program
from rgo_bench.runs.spec import Spec
from rgo_bench.runs.state import RunState
from rgo_bench.streams.draws import task_generator

METHODS = ("rgo", "rgo-2", "sgd", "stl")


@lru_cache(maxsize=4)
def compiled(
    name: str,
    input_shape: tuple[int, ...],
    classes: int,
    *,
    lr: float,
    batch: int,
    options: RGOOptions | None,
    samples: int,
    mapped: bool,
) -> tuple[Network, Program]:
    """Return a network and its programs: seeds one after another compile them once."""
    network = convert_network(NETWORKS[name](input_shape, classes, 0))
    share = 1.0 if options is None else options.share(samples, network.widest)
    program = make_program(
        network, lr=lr, batch=batch, options=options, share=share, mapped=mapped
    )
    return network, program


def drawn_order(state: RunState, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (steps, batch) and weights, 0 for what fills up a batch."""
    stream = state.stream
    generator = task_generator(stream.seed, index, "order")
    steps = -(-stream.samples // stream.batch)
    rows = np.zeros((stream.epochs, steps * stream.batch), np.int32)
    weights = np.zeros_like(rows, dtype=np.float32)
    weights[:, : stream.samples] = 1
    for epoch in rows:
        epoch[: stream.samples] = generator.permutation(stream.samples)
    shape = (stream.epochs * steps, stream.batch)
    return rows.reshape(shape), weights.reshape(shape)


def jax_device(device: str) -> Any:
    """Return a device by its name; raise ValueError where there is no such."""
    try:
        return jax.devices({"cuda": "gpu"}.get(device, device))[0]
    except RuntimeError as error:
        raise ValueError(
            f"device: expected one of JAX's, {jax.devices()}, got {device!r}"
        ) from error


def check_supported(specs: Sequence[Spec]) -> None:
    """Raise ValueError unless specs of several seeds are ones that can be compiled."""
    first = specs[0]
    if first.method not in METHODS:
        _refuse("one of the methods " + ", ".join(METHODS), first.method)
    asked = [(spec.config, spec.stream, spec.method) for spec in specs]
    for other in asked:
        if other != asked[0]:
            _refuse("runs that differ in their seeds alone", str(other[0]))


def _refuse(expected: str, got: str) -> NoReturn:
    raise ValueError(f"backend jax: expected {expected}, got {got}")
