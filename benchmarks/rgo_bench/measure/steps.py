"""What a training step of RGO costs beside one of plain SGD.

Machines are shared and noisy: both are timed in one process, in turn, and only their
ratio means something.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

import rgo_torch
from rgo_bench.compilation import (
    Forward,
    begin_step,
    check_compiler,
    compiled_forward,
)
from rgo_bench.measure.operations import step_operations
from rgo_bench.measure.subjects import Subject

OPTIMIZERS = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}


class StepTime(NamedTuple):
    """Steps of a plain optimizer and of RGO on one network."""

    network: str
    batch: int
    sgd: float  # milliseconds a step
    rgo: float
    ratio: float  # the median over repeats
    floor: float  # of the ratio, from counting multiplications
    # What compiled steps take over plain ones, the median over repeats; where timed.
    sgd_compiled: float | None = None
    rgo_compiled: float | None = None
    optimizer: str = "sgd"


def measure_step(
    network: str,
    input_shape: tuple[int, ...],
    *,
    batch: int = 10,
    device: str = "cpu",
    optimizer: str = "sgd",
    compiled: bool = False,
    repeats: int = 7,
    seconds: float = 1.0,
) -> StepTime:
    """Time steps of an optimizer and of RGO in its second task, in turn.

    Each is timed `repeats` times, about so many seconds long; with `compiled` through
    `torch.compile` too. With AdamW updates are projected, and not gradients.

    Random inputs of all 100 classes. The projections are those of one curvature pass
    over 100 samples: dense, as a step multiplies them whatever they hold.
    """
    if compiled:
        check_compiler()
    subject = Subject(network, input_shape, batch, torch.device(device))
    take = [
        _stepper(subject, optimizer, projected=projected, compiled=fast)
        for fast in ((False, True) if compiled else (False,))
        for projected in (False, True)
    ]
    on_cuda = subject.device.type == "cuda"
    wait = torch.cuda.synchronize if on_cuda else lambda: None
    timed = [(step, _count(step, wait, seconds)) for step in take]
    times = [[_time(*each, wait) for each in timed] for _ in range(repeats)]
    made = prepare(subject._replace(device=torch.device("cpu")), optimizer)
    floor = step_operations(made.model, made.x, updates=optimizer != "sgd").ratio
    sgd, rgo, *fast = np.array(times).T
    over = [_median(c / plain) for c, plain in zip(fast, (sgd, rgo), strict=False)]
    return StepTime(
        network=network,
        batch=batch,
        sgd=1e3 * _median(sgd),
        rgo=1e3 * _median(rgo),
        ratio=_median(rgo / sgd),
        floor=floor,
        sgd_compiled=over[0] if over else None,
        rgo_compiled=over[1] if over else None,
        optimizer=optimizer,
    )


def _stepper(
    subject: Subject, optimizer: str, *, projected: bool, compiled: bool
) -> Callable[[], None]:
    made = prepare(subject, optimizer)
    if projected:
        protect(made)
    _, model, stepped, x, y = made
    forward: Forward = compiled_forward(model, subject.device) if compiled else model

    def step() -> None:
        if compiled:
            begin_step(subject.device)
        stepped.zero_grad()
        functional.cross_entropy(forward(x), y).backward()
        stepped.step()

    return step


class Made(NamedTuple):
    """What takes a step."""

    subject: Subject
    model: nn.Module
    optimizer: torch.optim.Optimizer
    x: Tensor
    y: Tensor


def prepare(subject: Subject, optimizer: str) -> Made:
    """Return a network and its optimizer, with a mini-batch."""
    torch.manual_seed(0)
    model = subject.make()
    stepped = OPTIMIZERS[optimizer](model.parameters(), lr=1e-3)
    return Made(subject, model, stepped, *next(subject.draw(1)))


def protect(made: Made) -> rgo_torch.RGO:
    """Bring a network into RGO's second task."""
    rgo = rgo_torch.RGO(made.model, made.optimizer, seed=0)
    rgo.begin_task()
    rgo.end_task(made.subject.draw(10))
    rgo.begin_task()
    return rgo


def _median(times: NDArray[np.float64]) -> float:
    return float(np.median(times))


def _count(step: Callable[[], None], wait: Callable[[], None], seconds: float) -> int:
    """Warm up, and return how many steps take about so long."""
    for _ in range(3):
        step()
    return max(1, round(seconds / _time(step, 3, wait)))


def _time(step: Callable[[], None], count: int, wait: Callable[[], None]) -> float:
    wait()
    start = time.perf_counter()
    for _ in range(count):
        step()
    wait()
    return (time.perf_counter() - start) / count
