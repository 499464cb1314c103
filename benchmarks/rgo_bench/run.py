"""One run: a method learns a stream, and is tested on all tasks after each."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rgo_bench.checkpoint import read_checkpoint, write_checkpoint
from rgo_bench.clock import Clock
from rgo_bench.compilation import begin_step, check_compiler, compiled_forward
from rgo_bench.methods import METHODS, Method, Setting
from rgo_bench.methods.method import fitting
from rgo_bench.networks import NETWORKS
from rgo_bench.records import (
    Record,
    check_writable,
    describe_environment,
    differing_options,
    percent_rows,
    read_record,
    record_path,
    write_record,
)
from rgo_bench.spec import Spec
from rgo_bench.streams import STREAMS, Samples, Stream, make_stream
from rgo_bench.streams.draws import task_generator

# Test samples of one forward pass: enough to be fast, few enough for any device.
TEST_BATCH, TEST_INPUTS = 2000, 2**21
# Reports every so many steps: a bar needs no more, and a step is 0.3 ms.
REPORT_EVERY = 50


class Reporter(Protocol):
    """Hears of a run's progress."""

    def stepped(self, task: int, steps: int) -> None:
        """Hear that `steps` more steps of a task were taken."""

    def tested(self, task: int, accuracy: float) -> None:
        """Hear the average accuracy in percent after a task."""


class Silent:
    """A reporter that tells nobody."""

    def stepped(self, task: int, steps: int) -> None:
        """Do nothing."""

    def tested(self, task: int, accuracy: float) -> None:
        """Do nothing."""


def run(
    spec: Spec,
    out: Path,
    *,
    device: str = "cpu",
    compiled: bool = False,
    force: bool = False,
    reporter: Reporter | None = None,
) -> Record:
    """Run what `spec` asks for and write its record, or read the one that is there.

    After every task a checkpoint is written beside the record to be. A run that was
    cut off goes on after its last finished task and ends with the same numbers; no
    checkpoint is left beside a record.

    On the split streams, whose gap between training and test the paper prints in its
    Table 3, the accuracy on training samples is measured too, as part of "evaluate":
    of all tasks after the last, or of each when it is learned by a method that keeps
    its tasks.

    Parameters
    ----------
    spec : Spec
    out : Path
        The folder of all records.
    device : str
        ``"cpu"`` or ``"cuda"``.
    compiled : bool
        Take training steps through `torch.compile`, with methods that can. Like the
        device it changes how numbers are rounded, not what is computed: a run may go on
        with it or without, and its record states it as part of the environment.
    force : bool
        Run again from the start, in place of a finished or a begun run.
    reporter : Reporter, optional
        Hears of the progress.

    Returns
    -------
    Record

    Raises
    ------
    OSError
        If the record could not be written, or there is no C++ compiler to compile
        with; nothing has started then.
    ValueError
        If the record or the checkpoint that is there is broken or of another
        configuration, the device is not there, or the network returns NaN.
    FileNotFoundError
        If the data are not found.
    """
    path = record_path(
        out,
        stream=spec.stream,
        method=spec.method,
        variant=spec.variant,
        seed=spec.seed,
    )
    reporter = reporter or Silent()
    if path.exists() and not force:
        record = read_record(path)
        _check_config(path, "record", record.config, spec)
        _report_done(reporter, spec, spec.stream_options.tasks, record.acc)
    else:
        if compiled:
            check_compiler()
        running = _Run(spec, usable_device(device), compiled=compiled)
        check_writable(path.parent)
        checkpoint = path.with_suffix(".checkpoint")
        if checkpoint.exists() and not force:
            running.resume(checkpoint)
            _report_done(reporter, spec, running.task, running.average)
        while running.task < running.stream.tasks:
            running.learn(reporter)
            write_checkpoint(checkpoint, running.state_dict())
        write_record(out, running.record())
    _remove_leftovers(path)
    return read_record(path)


class _Run:
    """A run under way, between two tasks."""

    def __init__(self, spec: Spec, device: torch.device, *, compiled: bool) -> None:
        self.spec = spec
        self.device = device
        self.stream = make_stream(
            spec.stream,
            seed=spec.seed,
            data=spec.data,
            **spec.stream_options.as_dict(),
        )
        self.method = _make_method(spec, self.stream, device, compiled=compiled)
        self.compiled = compiled and self.method.compiles
        self.clock = Clock(device)
        self.task = 0  # the next to learn
        tasks = self.stream.tasks
        self.accuracy: NDArray[np.float64] = np.full((tasks, tasks), np.nan)
        self.train_accuracy: NDArray[np.float64] | None = None
        if STREAMS[spec.stream].measures_training:
            self.train_accuracy = np.full(tasks, np.nan)

    @property
    def average(self) -> float:
        """The average accuracy in percent after the last task learned."""
        return float(self.accuracy[self.task - 1, : self.task].mean())

    def learn(self, reporter: Reporter) -> None:
        """Learn the next task and test on all tasks so far."""
        task = self.task
        x, y = _on(self.device, self.stream.train(task))
        with self.clock.phase("train"):
            self.method.begin_task(task)
            self._train(x, y, reporter)
        with self.clock.phase("evaluate"):
            # Before a method computes with numbers that are none.
            self._logits(x[: self.stream.batch], task)
        self.method.end_task(x, y, self.clock)
        with self.clock.phase("evaluate"):
            self._test()
            self._test_training()
        self.task += 1
        reporter.tested(task, self.average)

    def state_dict(self) -> dict[str, Any]:
        """Return all that `resume` needs."""
        measured = self.train_accuracy
        return {
            "config": self.spec.config,
            "task": self.task,
            "accuracy": self.accuracy.tolist(),
            "train_accuracy": None if measured is None else measured.tolist(),
            "seconds": self.clock.seconds,
            "method": self.method.state_dict(),
        }

    def resume(self, path: Path) -> None:
        """Go on where a checkpoint was written."""
        state = read_checkpoint(path, self.device)
        _check_config(path, "checkpoint", state["config"], self.spec)
        self.method.load_state_dict(state["method"])
        self.task = state["task"]
        self.accuracy = np.asarray(state["accuracy"])
        if self.train_accuracy is not None:
            self.train_accuracy = np.asarray(state["train_accuracy"])
        self.clock = Clock(self.device, state["seconds"])

    def record(self) -> Record:
        """Return the record of a finished run."""
        spec = self.spec
        name = (
            torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else self.device.type
        )
        return Record(
            stream=spec.stream,
            method=spec.method,
            variant=spec.variant,
            network=spec.network,
            backend="torch",
            seed=spec.seed,
            config=spec.config,
            accuracy=percent_rows(self.accuracy),
            train_accuracy=_percent(self.train_accuracy),
            seconds=self.clock.seconds,
            environment=describe_environment(
                "torch",
                device=name,
                threads=torch.get_num_threads(),
                compiled=self.compiled,
            ),
        )

    def _train(self, x: Tensor, y: Tensor, reporter: Reporter) -> None:
        stream, method, pending = self.stream, self.method, 0
        order = task_generator(stream.seed, self.task, "order")
        for _ in range(stream.epochs):
            rows = torch.from_numpy(order.permutation(len(x))).to(self.device)
            batches = zip(
                torch.split(x[rows], stream.batch),
                torch.split(y[rows], stream.batch),
                strict=True,
            )
            for batch in batches:
                if self.compiled:
                    begin_step(self.device)
                method.step(*batch)
                pending += 1
                if pending == REPORT_EVERY:
                    reporter.stepped(self.task, pending)
                    pending = 0
        reporter.stepped(self.task, pending)

    def _test(self) -> None:
        last = self.task
        first = 0
        if self.method.keeps_tasks and last:
            self.accuracy[last, :last] = self.accuracy[last - 1, :last]
            first = last
        for task in range(first, last + 1):
            samples = self.stream.test(task)
            self.accuracy[last, task] = self._percent_right(samples, task)

    def _test_training(self) -> None:
        keeps, last = self.method.keeps_tasks, self.stream.tasks - 1
        if self.train_accuracy is None or not (keeps or self.task == last):
            return
        for task in [self.task] if keeps else range(last + 1):
            samples = self.stream.train(task)
            self.train_accuracy[task] = self._percent_right(samples, task)

    @torch.no_grad()
    def _percent_right(self, samples: Samples, task: int) -> float:
        size = fitting(TEST_BATCH, TEST_INPUTS, self.stream.input_shape)
        x, y = _on(self.device, samples)
        right = torch.zeros((), device=self.device)
        for inputs, labels in zip(
            torch.split(x, size), torch.split(y, size), strict=True
        ):
            right += (self._logits(inputs, task).argmax(-1) == labels).sum()
        return 100 * float(right) / len(y)

    @torch.no_grad()
    def _logits(self, x: Tensor, task: int) -> Tensor:
        logits = self.method.predict(x, task)
        if bool(torch.isnan(logits).any()):
            raise ValueError(
                f"after task {self.task} the network returns NaN: the learning rate "
                f"{self.stream.lr} may be too high"
            )
        return logits


def _check_config(path: Path, kind: str, config: Mapping[str, Any], spec: Spec) -> None:
    if differing_options(config, spec.config):
        raise ValueError(
            f"{path}: expected a {kind} of {spec.config}, got one of {dict(config)}; "
            "start again with --force"
        )


def _report_done(reporter: Reporter, spec: Spec, tasks: int, accuracy: float) -> None:
    """Report at once what an earlier run did."""
    reporter.stepped(tasks - 1, tasks * spec.stream_options.steps)
    reporter.tested(tasks - 1, accuracy)


def _remove_leftovers(path: Path) -> None:
    """Remove the checkpoint of a finished run, and what a kill left half-written."""
    for leftovers in (f"{path.stem}.checkpoint", f".{path.stem}.*.tmp"):
        for leftover in path.parent.glob(leftovers):
            leftover.unlink(missing_ok=True)


def usable_device(device: str) -> torch.device:
    """Return a device by its name; raise ValueError where there is no such."""
    if device == "cpu" or (device == "cuda" and torch.cuda.is_available()):
        return torch.device(device)
    raise ValueError(
        f"device: expected cpu{' or cuda' if torch.cuda.is_available() else ''}, the "
        f"devices that there are, got {device!r}"
    )


def _make_method(
    spec: Spec, stream: Stream, device: torch.device, *, compiled: bool
) -> Method:
    if compiled:
        # What earlier runs compiled counts towards a limit, after which nothing is.
        torch.compiler.reset()

    def make_network(seed: int) -> torch.nn.Module:
        make = NETWORKS[spec.network]
        return make(stream.input_shape, stream.classes, seed).to(device)

    masks = (stream.mask(task) for task in range(stream.tasks))
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
        compile_network=partial(compiled_forward, device=device) if compiled else None,
    )
    method: Method = METHODS[spec.method].build(setting, spec.method_options)
    return method


def _percent(entries: NDArray[np.float64] | None) -> tuple[float, ...] | None:
    return None if entries is None else tuple(round(e, 2) for e in entries.tolist())


def _on(device: torch.device, samples: Samples) -> tuple[Tensor, Tensor]:
    x, y = torch.from_numpy(samples.x), torch.from_numpy(samples.y)
    return x.to(device), y.to(device)
