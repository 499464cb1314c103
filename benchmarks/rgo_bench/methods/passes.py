"""Training when a task ends, for methods that go through it several times."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from rgo_bench.methods.addition import Addition
from rgo_bench.methods.growing import GrowingMethod, GrowingNetwork
from rgo_bench.methods.method import MethodOptions, Setting
from rgo_bench.streams.options import Positive

Free = Sequence[tuple[nn.Parameter, Tensor | None]]  # what of a parameter may change


def all_of(parameters: Iterable[nn.Parameter]) -> Free:
    """Return that all of each parameter may change."""
    return [(parameter, None) for parameter in parameters]


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
    free: Free,
    *,
    lr: float,
    pull: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
) -> float:
    """Take a step of Adam on each mini-batch's cross-entropy.

    A mini-batch is what `logits` takes, and the labels. What is not free keeps its
    values to the bit: free are the entries of a parameter where its mask is True, all
    where it is None. `pull` adds to the gradients, where they are not None, those of
    penalties; `after` is called after every step. Returned is the mean cross-entropy
    over the last tenth of the steps, NaN of none.
    """
    trained = [parameter for parameter, _ in free]
    optimizer = torch.optim.Adam(trained, lr=lr, fused=True)
    losses: list[Tensor] = []
    for *given, y in batches:
        optimizer.zero_grad()
        loss = functional.cross_entropy(logits(*given), y)
        loss.backward(inputs=trained)
        pull()
        for parameter, mask in free:
            # Adam leaves entries whose gradients were always 0 where they are.
            if mask is not None and parameter.grad is not None:
                parameter.grad *= mask
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


@torch.no_grad()
def decay(free: Iterable[nn.Parameter], strength: float) -> None:
    """Add to gradients those of ``strength |w|^2 / 2``, w all weights but biases."""
    for weight in free:
        if weight.ndim > 1 and weight.grad is not None:
            weight.grad.add_(weight, alpha=strength)


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
            parameters, lr = self.network.parameters(task), self.options.step_size
            self.optimizer = torch.optim.Adam(parameters, lr=lr, fused=True)

    def step(self, x: Tensor, y: Tensor) -> None:
        """Train the first task; of later ones count how many steps a pass has."""
        self.steps += 1
        if self.current:
            return
        self.optimizer.zero_grad()
        functional.cross_entropy(self.network.logits(x, 0), y).backward()
        self.pull(self.network.parameters(0))
        self.optimizer.step()

    def pull(self, free: Sequence[nn.Parameter]) -> None:
        """Add the gradients of penalties to those of what is free."""
        decay(free, self.options.decay)

    def go_through(
        self,
        network: GrowingNetwork | Addition,
        x: Tensor,
        y: Tensor,
        free: Free,
        *,
        steps: int | None = None,
        after: Callable[[], None] = lambda: None,
    ) -> float:
        """Train what is free of a network, by default for as many steps as counted."""
        given = network.fixed(x) if isinstance(network, Addition) else (x,)
        batches = mini_batches(
            *(*given, y),
            size=self.setting.batch,
            steps=self.steps if steps is None else steps,
            generator=network.generator,
        )
        return train(
            *(partial(network.logits, task=self.current), batches, free),
            lr=self.options.step_size,
            pull=partial(self.pull, [parameter for parameter, _ in free]),
            after=after,
        )
