"""One adapter learns a stream of text with a method."""

from collections.abc import Mapping
from typing import Any

import torch

from rgo_bench.lora.choice import CLASSES_OF
from rgo_bench.lora.guessing import guessed
from rgo_bench.lora.methods import Method, Protected
from rgo_bench.lora.registry import STREAMS
from rgo_bench.zoo.loss import accuracy
from rgo_bench.zoo.memory import peak_meter
from rgo_bench.zoo.record import ZooRecord
from rgo_bench.zoo.streams import Samples, Task
from rgo_bench.zoo.turns import Clock, take_steps


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
    run = _Run(learner, seed)
    run.learn(tasks, steps)
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
        accuracy=run.accuracy,
        seconds=run.clock.rounded(),
        peak_mib=most,
        abilities=abilities,
        environment=dict(environment),
        **learner.facts(),
    )


class _Run:
    def __init__(self, learner: Method, seed: int) -> None:
        self.learner = learner
        self.generator = torch.Generator().manual_seed(seed)
        self.clock = Clock()
        self.accuracy: list[list[float]] = []

    def learn(self, tasks: list[Task], steps: int) -> None:
        for index, task in enumerate(tasks):
            self.learner.begin_task(index)  # of Each: with a new model
            with self.clock.phase("train"):
                self._take_steps(task.train, steps)
            with self.clock.phase("consolidate"):
                self.learner.end_task(task.train)
            with self.clock.phase("evaluate"):
                self.accuracy.append(self._tested(tasks[: index + 1]))

    def _take_steps(self, samples: Samples, steps: int) -> None:
        self.learner.model.train()
        take_steps(
            self.learner.optimizer,
            self.learner.loss,
            samples,
            steps=steps,
            batch=self.learner.entry.batch,
            generator=self.generator,
        )

    def _tested(self, tasks: list[Task]) -> list[float]:
        found = []
        for index, task in enumerate(tasks):
            with self.learner.task(index):
                # No larger than in training, whose memory is what is measured.
                batch = self.learner.entry.batch
                found.append(round(accuracy(self.learner.model, task.test, batch), 3))
        return found
