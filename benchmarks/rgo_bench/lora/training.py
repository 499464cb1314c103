"""One adapter learns a stream of text with a method."""

from collections.abc import Mapping
from typing import Any

import torch

from rgo_bench.lora.choice import CLASSES_OF
from rgo_bench.lora.guessing import guessed
from rgo_bench.lora.methods import Protected
from rgo_bench.lora.registry import STREAMS
from rgo_bench.zoo.memory import peak_meter
from rgo_bench.zoo.record import ZooRecord
from rgo_bench.zoo.turns import Turns


def learn(
    stream: str,
    method: str,
    seed: int,
    *,
    options: Mapping[str, Any],
    steps: int | None = None,
    environment: Mapping[str, Any],
) -> ZooRecord:
    """Train with a method on a stream and return what came of it.

    Parameters
    ----------
    stream : str
        A key of `STREAMS`.
    method : str
        A key of `METHODS`.
    seed : int
        Draws the stream, the adapter, the batches and the encoding.
    options : mapping
        Of `rgo_torch.RGO`.
    steps : int, optional
        Of a task; the stream's own where None.
    environment : mapping
        As `describe_environment` returns it.
    """
    entry = STREAMS[stream]
    steps = entry.steps if steps is None else steps
    tasks = entry.stream(seed)
    torch.manual_seed(seed)
    peak = peak_meter()
    learner = CLASSES_OF[method](entry, seed, options)
    # Tested no larger than trained, whose memory is what is measured.
    turns = Turns(learner, seed, batch=entry.batch, test_batch=entry.batch)
    turns.learn_in_turn(tasks, steps)
    most = peak()
    abilities = {}
    if entry.ability is not None:
        abilities[entry.ability.__name__] = entry.ability(learner.model)
    encoded = isinstance(learner, Protected) and learner.rgo.encoder is not None
    if isinstance(learner, Protected) and encoded and entry.head is not None:
        abilities |= guessed(learner, tasks)
    return ZooRecord(
        model=f"{entry.model}-{stream}",
        method=method,
        seed=seed,
        options=dict(options),
        training={"steps": steps, "batch": entry.batch, "lr": entry.lr},
        parameters=sum(p.numel() for p in learner.model.parameters()),
        accuracy=turns.accuracy,
        seconds=turns.seconds,
        peak_mib=most,
        abilities=abilities,
        environment=dict(environment),
        **learner.facts(),
    )
