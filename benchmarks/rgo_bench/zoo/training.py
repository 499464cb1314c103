"""A model of the zoo learns its tasks one after another."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from rgo_bench.zoo.loss import accuracy, loss
from rgo_bench.zoo.memory import peak_meter
from rgo_bench.zoo.methods import (
    Learner,
    freeze_body,
    make_learner,
    steps_of,
    uses_sgd,
)
from rgo_bench.zoo.record import ZooRecord
from rgo_bench.zoo.registry import ZOO, Entry
from rgo_bench.zoo.streams import Samples, Task
from rgo_bench.zoo.turns import Clock, take_steps


def train(
    name: str,
    method: str,
    seed: int,
    *,
    options: Mapping[str, Any],
    steps: int | None = None,
    environment: Mapping[str, Any],
) -> ZooRecord:
    """Train a model of the zoo with a method and return what came of it.

    Parameters
    ----------
    name : str
        A key of `ZOO`.
    method : str
        A key of `METHODS`.
    seed : int
        Draws the stream, the initial weights, the batches and the encoding.
    options : mapping
        Of `rgo_torch.RGO`, in place of the method's.
    steps : int, optional
        Of a task; the entry's where None.
    environment : mapping
        As `describe_environment` returns it.
    """
    entry = ZOO[name]
    steps = steps_of(entry, method) if steps is None else steps
    tasks = entry.stream(seed)
    _warm_up(entry, tasks[0].train)
    torch.manual_seed(seed)
    model = entry.build()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    peak = peak_meter()
    run = _Run(model, method, seed, entry, options)
    if method == "joint":
        run.learn_together(tasks, steps)
    else:
        run.learn_in_turn(tasks, steps)
    return ZooRecord(
        model=name,
        method=method,
        seed=seed,
        options=dict(options),
        training={"steps": steps, "batch": entry.batch, "lr": run.lr},
        parameters=parameters,
        accuracy=run.accuracy,
        seconds=run.clock.rounded(),
        peak_mib=peak(),
        environment=dict(environment),
        **run.learner.facts(),
    )


def _warm_up(entry: Entry, samples: Samples) -> None:
    """Take a step with another model: what PyTorch then keeps is not the run's."""
    model = entry.build()
    loss(model(samples.x[: entry.batch]), samples.y[: entry.batch]).backward()


class _Run:
    def __init__(
        self,
        model: nn.Module,
        method: str,
        seed: int,
        entry: Entry,
        options: Mapping[str, Any],
    ) -> None:
        self.model, self.entry = model, entry
        self.lr = entry.lr
        if method == "frozen":
            freeze_body(model, entry.head)
            self.lr = entry.head_lr
        trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer: Optimizer
        if uses_sgd(method):
            self.lr = entry.sgd_lr
            self.optimizer = SGD(trained, lr=self.lr, momentum=0.9)
        else:
            self.optimizer = AdamW(trained, lr=self.lr, fused=True)
        self.learner: Learner = make_learner(
            method, model, self.optimizer, entry, seed, options
        )
        self.generator = torch.Generator().manual_seed(seed)
        self.clock = Clock()
        self.accuracy: list[list[float]] = []

    def learn_in_turn(self, tasks: list[Task], steps: int) -> None:
        for index, task in enumerate(tasks):
            self.learner.begin_task(index)
            with self.clock.phase("train"):
                self._take_steps(task.train, steps)
            with self.clock.phase("consolidate"):
                self.learner.end_task(task.train)
            with self.clock.phase("evaluate"):
                self.accuracy.append(self._tested(tasks[: index + 1]))

    def learn_together(self, tasks: list[Task], steps: int) -> None:
        parts = zip(*(task.train for task in tasks), strict=True)
        samples = map(torch.cat, parts)
        with self.clock.phase("train"):
            self._take_steps(Samples(*samples), steps * len(tasks))
        with self.clock.phase("evaluate"):
            self.accuracy.append(self._tested(tasks))

    def _take_steps(self, samples: Samples, steps: int) -> None:
        self.model.train()
        take_steps(
            self.optimizer,
            lambda x, y: loss(self.model(x), y),
            samples,
            steps=steps,
            batch=self.entry.batch,
            generator=self.generator,
        )

    def _tested(self, tasks: list[Task]) -> list[float]:
        found = []
        for index, task in enumerate(tasks):
            with self.learner.task(index):
                found.append(round(accuracy(self.model, task.test), 3))
        return found
