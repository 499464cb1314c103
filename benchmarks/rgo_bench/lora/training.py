"""One adapter learns a stream of text with a method."""

from collections.abc import Mapping
from typing import Any

import torch

from rgo_bench.lora.choice import CLASSES_OF
from rgo_bench.lora.guessing import guessed
from rgo_bench.lora.methods import Protected
from rgo_bench.lora.registry import STREAMS
from rgo_bench.zoo.memory import peak_meter
from rgo_bench.zoo.record import Asked, ZooRecord
from rgo_bench.zoo.training import Turns


def learn(asked: Asked, environment: Mapping[str, Any]) -> ZooRecord:
    """Train with a method on a stream and return what came of it.

    The seed draws the stream, the adapter, the batches and the encoding.
    """
    entry = STREAMS[asked.name]
    tasks = entry.stream(asked.seed)
    torch.manual_seed(asked.seed)
    peak = peak_meter()
    learner = CLASSES_OF[asked.method](entry, asked.seed, asked.options)
    # Tested no larger than trained, whose memory is what is measured.
    turns = Turns(learner, asked.seed, batch=entry.batch, test_batch=entry.batch)
    turns.learn_in_turn(tasks, asked.steps)
    most = peak()
    abilities = {}
    if entry.ability is not None:
        abilities[entry.ability.__name__] = entry.ability(learner.model)
    if isinstance(learner, Protected) and learner.rgo.encoder and entry.head:
        abilities |= guessed(learner, tasks)
    return turns.record(
        asked,
        lr=learner.lr,
        peak_mib=most,
        abilities=abilities,
        environment=environment,
    )
