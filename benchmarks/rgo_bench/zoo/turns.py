"""What a learner is given in its turn, and how long each phase takes."""

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer

from rgo_bench.runs.clock import Clock
from rgo_bench.zoo.loss import TEST_BATCH, accuracy
from rgo_bench.zoo.methods import Learner
from rgo_bench.zoo.streams import Samples, Task, join

PHASES = ("train", "consolidate", "evaluate")


def take_steps(
    optimizer: Optimizer,
    loss: Callable[[Tensor, Tensor], Tensor],
    samples: Samples,
    *,
    steps: int,
    batch: int,
    generator: torch.Generator,
) -> None:
    """Descend a loss of inputs and labels, on as many passes as the steps take.

    Raises
    ------
    ValueError
        If the loss is NaN or infinite.
    """
    count = len(samples.x)
    passes = math.ceil(steps * batch / count)
    orders = [torch.randperm(count, generator=generator) for _ in range(passes)]
    for chosen in torch.cat(orders)[: steps * batch].split(batch):
        optimizer.zero_grad()
        value = loss(*samples.at(chosen))
        if not math.isfinite(value.item()):
            raise ValueError(f"loss: expected a finite number, got {value.item()}")
        value.backward()
        optimizer.step()


class Turns:
    """What a learner is given to learn, and what comes of it.

    Parameters
    ----------
    learner : Learner
    seed : int
        Draws the batches.
    batch : int
        Samples of a step.
    test_batch : int
        Samples at once in testing.

    Attributes
    ----------
    clock : Clock
    accuracy : list of list of float
        As a record has it.
    """

    def __init__(
        self, learner: Learner, seed: int, *, batch: int, test_batch: int = TEST_BATCH
    ) -> None:
        self.learner, self.batch, self.test_batch = learner, batch, test_batch
        self.generator = torch.Generator().manual_seed(seed)
        # The processor's seconds: other work on the machine has no share.
        self.clock = Clock(torch.device("cpu"), now=time.process_time)
        self.accuracy: list[list[float]] = []

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds of each phase, as a record has them."""
        return {phase: round(self.clock.seconds[phase], 2) for phase in PHASES}

    def learn_in_turn(self, tasks: list[Task], steps: int) -> None:
        """Learn one task after another, and test all so far after each."""
        for index, task in enumerate(tasks):
            self.learner.begin_task(index)  # it may have a new model now
            with self.clock.phase("train"):
                self._take_steps(task.train, steps)
            with self.clock.phase("consolidate"):
                self.learner.end_task(task.train)
            self._test(tasks[: index + 1])

    def learn_together(self, tasks: list[Task], steps: int) -> None:
        """Learn all tasks at once, and test them."""
        samples = join(task.train for task in tasks)
        with self.clock.phase("train"):
            self._take_steps(samples, steps * len(tasks))
        self._test(tasks)

    def _take_steps(self, samples: Samples, steps: int) -> None:
        self.learner.model.train()
        take_steps(
            self.learner.optimizer,
            self.learner.loss,
            samples,
            steps=steps,
            batch=self.batch,
            generator=self.generator,
        )

    def _test(self, tasks: list[Task]) -> None:
        found = []
        with self.clock.phase("evaluate"):
            for index, task in enumerate(tasks):
                with self.learner.task(index):
                    right = accuracy(self.learner.model, task.test, self.test_batch)
                    found.append(round(right, 3))
        self.accuracy.append(found)
