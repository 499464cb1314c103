"""What a run has measured so far, whatever trains."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rgo_bench.clock import Clock
from rgo_bench.records import (
    Record,
    describe_environment,
    differing_options,
    percent_rows,
)
from rgo_bench.runs.checkpoint import read_checkpoint
from rgo_bench.runs.spec import Spec
from rgo_bench.streams import STREAMS, Samples, make_stream


class RunState:
    """The stream, the tasks learned, their accuracies and the time taken."""

    def __init__(self, spec: Spec, device: torch.device) -> None:
        self.spec = spec
        options = spec.stream_options.as_dict()
        self.stream = make_stream(
            spec.stream, seed=spec.seed, data=spec.data, **options
        )
        self._device = device
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

    def check_logits(self, finite: bool) -> None:
        """Raise ValueError unless what the network returned is free of NaN."""
        if not finite:
            raise ValueError(
                f"after task {self.task} the network returns NaN: the learning rate "
                f"{self.stream.lr} may be too high"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return all that `resume` needs."""
        measured = self.train_accuracy
        return {
            "config": self.spec.config,
            "task": self.task,
            "accuracy": self.accuracy.tolist(),
            "train_accuracy": None if measured is None else measured.tolist(),
            "seconds": self.clock.seconds,
        }

    def resume(self, path: Path) -> dict[str, Any]:
        """Go on where a checkpoint was written, and return all of it."""
        state = read_checkpoint(path, self._device)
        check_config(path, "checkpoint", state["config"], self.spec)
        self.task = state["task"]
        self.accuracy = np.asarray(state["accuracy"])
        if self.train_accuracy is not None:
            self.train_accuracy = np.asarray(state["train_accuracy"])
        self.clock = Clock(self._device, state["seconds"])
        return state

    def record(
        self,
        device: str,
        *,
        compiled: bool = False,
        kept: Mapping[str, float] | None = None,
    ) -> Record:
        """Return the record of a finished run, on a device of that name."""
        spec, on_training = self.spec, None
        if self.train_accuracy is not None:
            on_training = tuple(round(each, 2) for each in self.train_accuracy.tolist())
        return Record(
            stream=spec.stream,
            method=spec.method,
            variant=spec.variant,
            network=spec.network,
            backend=spec.backend,
            seed=spec.seed,
            config=spec.config,
            accuracy=percent_rows(self.accuracy),
            train_accuracy=on_training,
            kept=kept,
            seconds=self.clock.seconds,
            environment=describe_environment(
                spec.backend,
                device=device,
                threads=torch.get_num_threads(),
                compiled=compiled,
            ),
        )


def measure_accuracies(
    states: Sequence[RunState],
    percents_right: Callable[[int, list[Samples]], Sequence[float]],
    *,
    keeps_tasks: bool,
) -> None:
    """Test after a task that was learned from one seed, or from several at once.

    A method that keeps its tasks is tested on the current one alone: the others are
    copied. `percents_right` is given a task and its samples, of each seed.
    """
    now, last = states[0].task, states[0].stream.tasks - 1
    kept = now if keeps_tasks else 0
    for state in states:
        state.accuracy[now, :kept] = state.accuracy[now - 1, :kept]
    for task in range(kept, now + 1):
        samples = [state.stream.test(task) for state in states]
        for state, right in zip(states, percents_right(task, samples), strict=True):
            state.accuracy[now, task] = right
    if states[0].train_accuracy is None or not (keeps_tasks or now == last):
        return
    for task in range(kept, now + 1):
        samples = [state.stream.train(task) for state in states]
        for state, right in zip(states, percents_right(task, samples), strict=True):
            assert state.train_accuracy is not None  # as in the first
            state.train_accuracy[task] = right


def check_config(path: Path, kind: str, config: Mapping[str, Any], spec: Spec) -> None:
    """Raise ValueError unless a file is of the run that is asked for."""
    if differing_options(config, spec.config):
        raise ValueError(
            f"{path}: expected a {kind} of {spec.config}, got one of {dict(config)}; "
            "start again with --force"
        )
