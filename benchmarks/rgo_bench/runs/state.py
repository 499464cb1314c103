"""What a run has measured so far, whatever trains."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rgo_bench.records import (
    Record,
    describe_environment,
    differing_options,
    percent_rows,
)
from rgo_bench.runs.clock import Clock
from rgo_bench.runs.spec import Spec
from rgo_bench.streams import STREAMS, Stream, make_stream


class RunState:
    """The stream, the tasks learned, their accuracies and the time taken."""

    def __init__(self, spec: Spec, device: torch.device) -> None:
        self.spec = spec
        self.stream: Stream = make_stream(
            spec.stream,
            seed=spec.seed,
            data=spec.data,
            **spec.stream_options.as_dict(),
        )
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

    def tasks_to_test(self, *, keeps_tasks: bool) -> Iterable[int]:
        """Return the tasks to test after the current one.

        A method that keeps its tasks is tested on the current one alone: the others
        are copied.
        """
        last = self.task
        if not (keeps_tasks and last):
            return range(last + 1)
        self.accuracy[last, :last] = self.accuracy[last - 1, :last]
        return [last]

    def tasks_to_test_on_training(self, *, keeps_tasks: bool) -> Iterable[int]:
        """Return the tasks to test on their training samples after the current one."""
        if self.train_accuracy is None:
            return []
        if keeps_tasks:
            return [self.task]
        return range(self.stream.tasks if self.task == self.stream.tasks - 1 else 0)

    def check_logits(self, finite: bool) -> None:
        """Raise ValueError unless what the network returned is free of NaN."""
        if not finite:
            raise ValueError(
                f"after task {self.task} the network returns NaN: the learning rate "
                f"{self.stream.lr} may be too high"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return all that `load` needs."""
        measured = self.train_accuracy
        return {
            "config": self.spec.config,
            "task": self.task,
            "accuracy": self.accuracy.tolist(),
            "train_accuracy": None if measured is None else measured.tolist(),
            "seconds": self.clock.seconds,
        }

    def load(self, state: Mapping[str, Any], path: Path, device: torch.device) -> None:
        """Go on from a state that `state_dict` returned, read from a checkpoint."""
        check_config(path, "checkpoint", state["config"], self.spec)
        self.task = state["task"]
        self.accuracy = np.asarray(state["accuracy"])
        if self.train_accuracy is not None:
            self.train_accuracy = np.asarray(state["train_accuracy"])
        self.clock = Clock(device, state["seconds"])

    def record(
        self,
        *,
        device: str,
        threads: int,
        compiled: bool,
        kept: Mapping[str, float] | None = None,
    ) -> Record:
        """Return the record of a finished run."""
        spec = self.spec
        return Record(
            stream=spec.stream,
            method=spec.method,
            variant=spec.variant,
            network=spec.network,
            backend=spec.backend,
            seed=spec.seed,
            config=spec.config,
            accuracy=percent_rows(self.accuracy),
            train_accuracy=_percent(self.train_accuracy),
            kept=kept,
            seconds=self.clock.seconds,
            environment=describe_environment(
                spec.backend, device=device, threads=threads, compiled=compiled
            ),
        )


def check_config(path: Path, kind: str, config: Mapping[str, Any], spec: Spec) -> None:
    """Raise ValueError unless a file is of the run that is asked for."""
    if differing_options(config, spec.config):
        raise ValueError(
            f"{path}: expected a {kind} of {spec.config}, got one of {dict(config)}; "
            "start again with --force"
        )


def _percent(entries: NDArray[np.float64] | None) -> tuple[float, ...] | None:
    return None if entries is None else tuple(round(e, 2) for e in entries.tolist())
