"""A model learns its tasks one after another."""

import math
import time
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from rgo_bench.clock import Clock
from rgo_bench.zoo.loss import TEST_BATCH, accuracy, loss
from rgo_bench.zoo.memory import peak_meter
from rgo_bench.zoo.methods import METHODS, Learner, Protected, uses_sgd
from rgo_bench.zoo.record import Asked, ZooRecord
from rgo_bench.zoo.registry import ZOO, Entry
from rgo_bench.zoo.streams import Samples, Task, join

PHASES: Final = ("train", "consolidate", "evaluate")


class Turns:
    """What a learner is given to learn, in batches that the seed draws.

    Its seconds are the processor's: other work on the machine has no share.
    """

    def __init__(
        self, learner: Learner, seed: int, *, batch: int, test_batch: int = TEST_BATCH
    ) -> None:
        self.learner, self.batch, self.test_batch = learner, batch, test_batch
        self.generator = torch.Generator().manual_seed(seed)
        self.clock = Clock(torch.device("cpu"), now=time.process_time)
        self.accuracy: list[list[float]] = []

    def learn_in_turn(self, tasks: list[Task], steps: int) -> None:
        """Learn one task after another, and test all so far after each."""
        for index, task in enumerate(tasks):
            self.learner.begin_task(index)  # it may have a new model now
            with self.clock.phase("train"):
                self.take_steps(task.train, steps)
            with self.clock.phase("consolidate"):
                self.learner.end_task(task.train)
            self._test(tasks[: index + 1])

    def learn_together(self, tasks: list[Task], steps: int) -> None:
        """Learn all tasks at once, and test them."""
        samples = join(task.train for task in tasks)
        with self.clock.phase("train"):
            self.take_steps(samples, steps * len(tasks))
        self._test(tasks)

    def record(self, asked: Asked, *, lr: float, **known: Any) -> ZooRecord:
        """Return the record of what came of it, with what is known beside."""
        return ZooRecord(
            model=asked.model,
            method=asked.method,
            seed=asked.seed,
            options=dict(asked.options),
            training={"steps": asked.steps, "batch": self.batch, "lr": lr},
            parameters=sum(p.numel() for p in self.learner.model.parameters()),
            accuracy=self.accuracy,
            seconds={phase: round(self.clock.seconds[phase], 2) for phase in PHASES},
            **self.learner.facts(),
            **known,
        )

    def take_steps(self, samples: Samples, steps: int) -> None:
        """Descend the learner's loss, on as many passes as the steps take."""
        learner = self.learner
        count = len(samples.x)
        passes = math.ceil(steps * self.batch / count)
        orders = [
            torch.randperm(count, generator=self.generator) for _ in range(passes)
        ]
        learner.model.train()
        for chosen in torch.cat(orders)[: steps * self.batch].split(self.batch):
            learner.optimizer.zero_grad()
            value = learner.loss(*samples.at(chosen))
            if not math.isfinite(value.item()):
                raise ValueError(f"loss: expected a finite number, got {value.item()}")
            value.backward()
            learner.optimizer.step()

    def _test(self, tasks: list[Task]) -> None:
        found = []
        with self.clock.phase("evaluate"):
            for index, task in enumerate(tasks):
                with self.learner.task(index):
                    right = accuracy(self.learner.model, task.test, self.test_batch)
                    found.append(round(right, 3))
        self.accuracy.append(found)


def train(asked: Asked, environment: Mapping[str, Any]) -> ZooRecord:
    """Train a model of the zoo with a method and return what came of it.

    The seed draws the stream, the initial weights, the batches and the encoding.
    """
    entry = ZOO[asked.name]
    tasks = entry.stream(asked.seed)
    # A step with another model first: what PyTorch then keeps is not the run's.
    x, y = (part[: entry.batch] for part in tasks[0].train)
    loss(entry.build()(x), y).backward()
    torch.manual_seed(asked.seed)
    model = entry.build()
    peak = peak_meter()
    learner = learner_of(model, asked.method, asked.seed, entry, asked.options)
    turns = Turns(learner, asked.seed, batch=entry.batch)
    learn = turns.learn_together if asked.method == "joint" else turns.learn_in_turn
    learn(tasks, asked.steps)
    lr = learner.optimizer.defaults["lr"]
    return turns.record(asked, lr=lr, peak_mib=peak(), environment=environment)


def learner_of(
    model: nn.Module, method: str, seed: int, entry: Entry, options: Mapping[str, Any]
) -> Learner:
    """Return the learner of a method with its optimizer, the body frozen if asked."""
    if method == "frozen":
        model.requires_grad_(False)
        model.get_submodule(entry.head).requires_grad_(True)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer: Optimizer
    if uses_sgd(method):
        optimizer = SGD(trained, lr=entry.sgd_lr, momentum=0.9)
    else:
        lr = entry.head_lr if method == "frozen" else entry.lr
        optimizer = AdamW(trained, lr=lr, fused=True)
    if not method.startswith("rgo"):
        return Learner(model, optimizer)
    chosen = {**METHODS[method], **options}
    if entry.shortcuts and chosen.get("encode", True):
        chosen.setdefault("unencoded", [*entry.shortcuts, entry.head])
    learner = Protected(model, optimizer)
    learner.protect(seed, chosen)
    return learner
