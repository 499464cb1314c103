"""A run of PyTorch under way."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rgo_bench.compilation import Forward, begin_step, compiled_forward
from rgo_bench.methods import METHODS, Method, Setting
from rgo_bench.methods.method import fitting
from rgo_bench.networks import NETWORKS
from rgo_bench.records import Record
from rgo_bench.runs.reporter import Reporter
from rgo_bench.runs.spec import Spec
from rgo_bench.runs.state import RunState, measure_accuracies
from rgo_bench.streams import Samples, Stream
from rgo_bench.streams.draws import task_generator
from rgo_bench.team import Team

# Test samples of one forward pass: enough to be fast, few enough for any device.
TEST_BATCH, TEST_INPUTS = 2000, 2**21
# Reports every so many steps: a bar needs no more, and a step is 0.3 ms.
REPORT_EVERY = 50


class TorchRun:
    """A run of PyTorch under way, between two tasks."""

    def __init__(self, spec: Spec, device: torch.device, *, compiled: bool) -> None:
        self.device = device
        self.team = Team()
        self.so_far = RunState(spec, device)
        self.stream = self.so_far.stream
        self.method = _make_method(
            spec, self.stream, device, compiled=compiled, team=self.team
        )
        self.compiled = compiled and self.method.compiles

    def learn(self, reporter: Reporter) -> None:
        """Learn the next task and test on all tasks so far."""
        so_far, task = self.so_far, self.so_far.task
        x, y = _on(self.device, self.stream.train(task))
        with so_far.clock.phase("train"):
            self.method.begin_task(task)
            self._train(x, y, reporter)
        with so_far.clock.phase("evaluate"):
            # Before a method computes with numbers that are none.
            self._logits(x[: self.stream.batch], task)
        self.method.end_task(x, y, so_far.clock)
        with so_far.clock.phase("evaluate"):
            keeps = self.method.keeps_tasks
            measure_accuracies([so_far], self._percents_right, keeps_tasks=keeps)
        so_far.task += 1
        reporter.tested(task, so_far.average)

    def state_dict(self) -> dict[str, Any]:
        """Return all that `resume` needs."""
        return {**self.so_far.state_dict(), "method": self.method.state_dict()}

    def resume(self, path: Path) -> None:
        """Go on where a checkpoint was written."""
        self.method.load_state_dict(self.so_far.resume(path)["method"])

    def record(self) -> Record:
        """Return the record of a finished run."""
        on_cuda = self.device.type == "cuda"
        return self.so_far.record(
            torch.cuda.get_device_name(self.device) if on_cuda else "cpu",
            compiled=self.compiled,
            kept={
                "bytes": self.method.kept_bytes(),
                "capacity": round(self.method.capacity(), 2),
            },
        )

    def _train(self, x: Tensor, y: Tensor, reporter: Reporter) -> None:
        stream, method, pending = self.stream, self.method, 0
        task = self.so_far.task
        order = task_generator(stream.seed, task, "order")
        for _ in range(stream.epochs):
            rows = torch.from_numpy(order.permutation(len(x))).to(self.device)
            parts = (part[rows].split(stream.batch) for part in (x, y))
            for batch in zip(*parts, strict=True):
                if self.compiled:
                    begin_step(self.device)
                method.step(*self.team.deal(*batch))
                pending += 1
                if pending == REPORT_EVERY:
                    reporter.stepped(task, pending)
                    pending = 0
        reporter.stepped(task, pending)

    @torch.no_grad()
    def _percents_right(self, task: int, samples: Sequence[Samples]) -> list[float]:
        (own,) = samples  # of one seed
        size = fitting(TEST_BATCH, TEST_INPUTS, self.stream.input_shape)
        x, y = map(self.team.share, _on(self.device, own))
        right = torch.zeros((), device=self.device)
        for inputs, labels in zip(x.split(size), y.split(size), strict=True):
            right += (self._logits(inputs, task).argmax(-1) == labels).sum()
        return [100 * float(self.team.total(right)) / len(own.y)]

    @torch.no_grad()
    def _logits(self, x: Tensor, task: int) -> Tensor:
        logits = self.method.predict(x, task)
        self.so_far.check_logits(not bool(torch.isnan(logits).any()))
        return logits


def usable_device(device: str) -> torch.device:
    """Return a device by its name; raise ValueError where there is no such."""
    if device == "cpu" or (device == "cuda" and torch.cuda.is_available()):
        return torch.device(device)
    raise ValueError(
        f"device: expected cpu{' or cuda' if torch.cuda.is_available() else ''}, the "
        f"devices that there are, got {device!r}"
    )


def _make_method(
    spec: Spec, stream: Stream, device: torch.device, *, compiled: bool, team: Team
) -> Method:
    if compiled:
        # What earlier runs compiled counts towards a limit, after which nothing is.
        torch.compiler.reset()

    def make_network(seed: int) -> torch.nn.Module:
        make = NETWORKS[spec.network]
        return make(stream.input_shape, stream.classes, seed).to(device)

    compile_network: Callable[[torch.nn.Module], Forward] | None = None
    if team.count > 1:
        compile_network = team.forward
    elif compiled:
        compile_network = partial(compiled_forward, device=device)
    masks = [stream.mask(task) for task in range(stream.tasks)]
    setting = Setting(
        make_network=make_network,
        seed=spec.seed,
        tasks=stream.tasks,
        classes=stream.classes,
        lr=stream.lr,
        batch=stream.batch,
        device=device,
        masks=tuple(
            None if mask is None else torch.from_numpy(mask).to(device)
            for mask in masks
        ),
        own_outputs=_disjoint(masks),
        compile_network=compile_network,
    )
    method: Method = METHODS[spec.method].build(setting, spec.resolved)
    return method


def _disjoint(masks: Sequence[NDArray[np.bool_] | None]) -> bool:
    given = [mask for mask in masks if mask is not None]
    return len(given) == len(masks) and bool((np.sum(given, axis=0) <= 1).all())


def _on(device: torch.device, samples: Samples) -> tuple[Tensor, Tensor]:
    """Bring samples to a device, inputs in PyTorch's default dtype as the weights."""
    x, y = torch.from_numpy(samples.x), torch.from_numpy(samples.y)
    return x.to(device, torch.get_default_dtype()), y.to(device)
