"""What a run is made of: batches in random order, steps, and a clock for its phases."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim import Optimizer

from rgo_bench.zoo.streams import Samples


class Clock:
    """The processor's seconds of each phase: other work on the machine has no share.

    Attributes
    ----------
    seconds : dict of str to float
    """

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("train", "consolidate", "evaluate"), 0.0)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens inside the context."""
        start = time.process_time()
        yield
        self.seconds[name] += time.process_time() - start

    def rounded(self) -> dict[str, float]:
        """Return the seconds as they are recorded."""
        return {phase: round(s, 2) for phase, s in self.seconds.items()}


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
        value = loss(samples.x[chosen], samples.y[chosen])
        if not math.isfinite(value.item()):
            raise ValueError(f"loss: expected a finite number, got {value.item()}")
        value.backward()
        optimizer.step()
