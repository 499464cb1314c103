"""Training when a task ends, for methods that go through it several times."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rgo_bench.methods.growing import GrowingMethod
from rgo_bench.methods.method import MethodOptions, Setting
from rgo_bench.streams.options import Positive


def mini_batches(
    *parts: Tensor, size: int, steps: int, generator: torch.Generator
) -> Iterator[list[Tensor]]:
    """Return so many mini-batches, each pass in an order of its own."""
    count, device = len(parts[0]), parts[0].device
    while steps > 0:
        order = torch.randperm(count, generator=generator).to(device)
        for rows in torch.split(order, size)[:steps]:
            yield [part[rows] for part in parts]
        steps -= -(-count // size)


def train(
    logits: Callable[..., Tensor],
    batches: Iterable[Sequence[Tensor]],
    optimizer: torch.optim.Optimizer,
    *,
    pull: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
) -> float:
    """Take a step on each mini-batch's cross-entropy.

    A mini-batch is what `logits` takes, and the labels. `pull` adds to the gradients
    those of penalties, `after` is called after every step. Returned is the mean
    cross-entropy over the last tenth of the steps, NaN of none.
    """
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    losses: list[Tensor] = []
    for *given, y in batches:
        optimizer.zero_grad()
        loss = functional.cross_entropy(logits(*given), y)
        loss.backward(inputs=trained)
        pull()
        optimizer.step()
        after()
        losses.append(loss.detach())
    last = losses[-max(1, len(losses) // 10) :]
    return float(torch.stack(last).mean()) if last else float("nan")


@torch.no_grad()
def percent_right(logits: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> float:
    """Return the accuracy in percent, a part of the samples at a time."""
    right = sum(
        int((logits(a).argmax(-1) == b).sum())
        for a, b in zip(torch.split(x, 500), torch.split(y, 500), strict=True)
    )
    return 100 * right / len(y)


@dataclass(frozen=True, kw_only=True)
class PassesOptions(MethodOptions):
    """The options of every `PassesMethod`."""

    step_size: Positive = 0.001  # Adam's
    decay: Positive = 1e-4  # of |w|^2 / 2


class PassesMethod(GrowingMethod):
    """A growing method that goes through a later task when it ends, and not in steps.

    The steps that the stream takes are counted then: each pass has as many.
    """

    options: PassesOptions

    def __init__(self, setting: Setting, options: PassesOptions) -> None:
        super().__init__(setting, options)
        self.steps = 0  # of the current task

    def begin_task(self, task: int) -> None:
        """Draw the task's head."""
        super().begin_task(task)
        self.network.add_head(task)
        self.steps = 0
        if not task:
            self.optimizer = self.adam(self.network.parameters(task))

    def step(self, x: Tensor, y: Tensor) -> None:
        """Train the first task; of later ones count how many steps a pass has."""
        self.steps += 1
        if self.current:
            return
        self.optimizer.zero_grad()
        functional.cross_entropy(self.network.logits(x, 0), y).backward()
        self.optimizer.step()

    def adam(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return Adam, with decay of the weights, and not of biases."""
        listed, options = list(parameters), self.options
        weights: dict[str, Any] = {"params": [p for p in listed if p.ndim > 1]}
        weights["weight_decay"] = options.decay
        biases = {"params": [p for p in listed if p.ndim == 1]}
        return torch.optim.Adam([weights, biases], lr=options.step_size, fused=True)

    def go_through(
        self,
        logits: Callable[..., Tensor],
        samples: Sequence[Tensor],
        parameters: Iterable[nn.Parameter],
        *,
        generator: torch.Generator,
        steps: int | None = None,
        pull: Callable[[], None] = lambda: None,
        after: Callable[[], None] = lambda: None,
    ) -> float:
        """Train parameters on mini-batches, by default on as many as counted.

        `samples` are what `logits` takes, and the labels, a sample a row.
        """
        batches = mini_batches(
            *samples,
            size=self.setting.batch,
            steps=self.steps if steps is None else steps,
            generator=generator,
        )
        return train(logits, batches, self.adam(parameters), pull=pull, after=after)
