"""What a training step of RGO costs beside one of plain SGD, and what the pass holds.

Machines are shared and noisy: both are timed in one process, in turn, and only their
ratio means something.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

import rgo_torch
from rgo_bench.measure.operations import step_operations
from rgo_bench.networks import NETWORKS
from rgo_bench.runs.compilation import (
    Forward,
    begin_step,
    check_compiler,
    compiled_forward,
)

CLASSES = 100
OPTIMIZERS = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}
STATM = Path("/proc/self/statm")  # Linux's: the pages that a process holds now


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
    input_shape: Sequence[int],
    *,
    batch: int = 10,
    device: str = "cpu",
    optimizer: str = "sgd",
    compiled: bool = False,
    repeats: int = 7,
    seconds: float = 1.0,
) -> StepTime:
    """Time steps of an optimizer and of RGO in its second task, in turn.

    Parameters
    ----------
    network : str
        One of `rgo_bench.networks.NETWORKS`.
    input_shape : sequence of int
        Of one sample.
    batch : int
    device : str
        ``"cpu"`` or ``"cuda"``.
    optimizer : {"sgd", "adamw"}
        With AdamW updates are projected, which the floor does not count.
    compiled : bool
        Whether to time both through `torch.compile` too.
    repeats : int
        How often each is timed.
    seconds : float
        About how long one timing lasts.

    Returns
    -------
    StepTime

    Raises
    ------
    OSError
        If there is no C++ compiler to compile with.

    Notes
    -----
    Random inputs of all 100 classes. The projections are those of one curvature pass
    over 100 samples: dense, as a step multiplies them whatever they hold.
    """
    place = torch.device(device)
    if compiled:
        check_compiler()
    take = [
        _stepper(
            *(network, input_shape, batch, place),
            optimizer=optimizer,
            projected=projected,
            compiled=fast,
        )
        for fast in ((False, True) if compiled else (False,))
        for projected in (False, True)
    ]
    wait = torch.cuda.synchronize if place.type == "cuda" else _nothing
    counts = [_count(step, wait, seconds) for step in take]
    times: list[list[float]] = [[] for _ in take]
    for _ in range(repeats):
        for step, count, found in zip(take, counts, times, strict=True):
            found.append(_time(step, count, wait))
    plain = NETWORKS[network](tuple(input_shape), CLASSES, 0)
    sgd, rgo, *fast = times
    over = [_quotient(*pair) for pair in zip(fast, (sgd, rgo), strict=False)]
    return StepTime(
        network=network,
        batch=batch,
        sgd=1e3 * median(sgd),
        rgo=1e3 * median(rgo),
        ratio=_quotient(rgo, sgd),
        floor=step_operations(plain, input_shape, batch).ratio,
        sgd_compiled=over[0] if over else None,
        rgo_compiled=over[1] if over else None,
        optimizer=optimizer,
    )


class PassMemory(NamedTuple):
    """Memory in MiB above the network itself, at most."""

    network: str
    input_shape: list[int]
    batch: int
    train: float  # of a training step
    observe: float  # of a curvature pass
    moments: float  # of the second moments in it

    @property
    def ratio(self) -> float:
        """The pass without its second moments, over the step."""
        return (self.observe - self.moments) / self.train


def measure_memory(
    network: str, input_shape: Sequence[int], *, batch: int = 10, device: str = "cpu"
) -> PassMemory:
    """Measure the memory of a training step and of a curvature pass.

    Each runs in a process of its own: on the host by the most that the process held,
    on CUDA by what PyTorch allocated.

    Parameters
    ----------
    network : str
        One of `rgo_bench.networks.NETWORKS`.
    input_shape : sequence of int
    batch : int
        Samples of a step, and of a mini-batch of the pass.
    device : str
        ``"cpu"`` or ``"cuda"``.

    Returns
    -------
    PassMemory

    Raises
    ------
    OSError
        If the host does not tell what a process holds now, as Linux does.
    RuntimeError
        If a process fails; with what it said.
    """
    if device == "cpu" and not STATM.exists():
        raise OSError(f"memory on the CPU is measured by {STATM}, which is not here")
    question = {"network": network, "shape": list(input_shape), "batch": batch}
    answers = [
        _ask({**question, "device": device, "what": what})
        for what in ("train", "observe")
    ]
    return PassMemory(
        network=network,
        input_shape=list(input_shape),
        batch=batch,
        train=answers[0]["peak"],
        observe=answers[1]["peak"],
        moments=answers[1]["moments"],
    )


def _stepper(
    network: str,
    input_shape: Sequence[int],
    batch: int,
    device: torch.device,
    *,
    optimizer: str,
    projected: bool,
    compiled: bool,
) -> Callable[[], None]:
    torch.manual_seed(0)
    model = NETWORKS[network](tuple(input_shape), CLASSES, 0).to(device)
    stepped = OPTIMIZERS[optimizer](model.parameters(), lr=1e-3)
    x, y = next(draw_batches(input_shape, batch, 1, device))
    if projected:
        rgo = rgo_torch.RGO(model, stepped)
        rgo.begin_task()
        rgo.end_task(draw_batches(input_shape, batch, 10, device))
        rgo.begin_task()

    forward: Forward = compiled_forward(model, device) if compiled else model

    def step() -> None:
        if compiled:
            begin_step(device)
        stepped.zero_grad()
        functional.cross_entropy(forward(x), y).backward()
        stepped.step()

    return step


def draw_batches(
    input_shape: Sequence[int], batch: int, count: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield random inputs and labels."""
    for _ in range(count):
        x = torch.randn(batch, *input_shape, device=device)
        yield x, torch.randint(CLASSES, (batch,), device=device)


def _quotient(times: Sequence[float], others: Sequence[float]) -> float:
    return median(a / b for a, b in zip(times, others, strict=True))


def _nothing() -> None:
    pass


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


def _ask(question: Mapping[str, Any]) -> dict[str, float]:
    answer = subprocess.run(
        [sys.executable, "-m", "rgo_bench.measure.steps", json.dumps(question)],
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise RuntimeError(f"{question['network']} failed:\n{answer.stderr}")
    found: dict[str, float] = json.loads(answer.stdout)
    return found


def _answer(question: Mapping[str, Any]) -> dict[str, float]:
    """Take what is asked for in this process, which was started for nothing else."""
    device, shape = torch.device(question["device"]), tuple(question["shape"])
    batch = question["batch"]
    model = NETWORKS[question["network"]](shape, CLASSES, 0).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    _settle(model, shape, device)
    before, moments = _held(device), 0
    if question["what"] == "train":
        for x, y in draw_batches(shape, batch, 3, device):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    else:
        count = 2 + max(rgo_torch.curvature.BLOCKS) // batch  # enough to fold a block
        found = rgo_torch.second_moments(
            model, draw_batches(shape, batch, count, device)
        )
        moments = sum(part.nbytes for m in found.values() for part in m if part.ndim)
    peak = _held(device, peak=True) - before
    return {"peak": peak / 2**20, "moments": moments / 2**20}


def _settle(model: nn.Module, shape: Sequence[int], device: torch.device) -> None:
    """Let the libraries allocate what they keep, on a sample that is tiny."""
    with torch.no_grad():
        model(torch.zeros(1, *shape, device=device))


def _held(device: torch.device, *, peak: bool = False) -> float:
    """Return the bytes held now, or at most so far."""
    if device.type == "cuda":
        return float(
            torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()
        )
    if peak:
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 2**10)
    return float(int(STATM.read_text().split()[1]) * resource.getpagesize())


if __name__ == "__main__":
    print(json.dumps(_answer(json.loads(sys.argv[1]))))
