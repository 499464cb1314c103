"""Runs of well below a second, and the command line as a process of its own."""

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from bench.small_settings import tiny_setting
from torch import Tensor

from rgo_bench.methods import METHODS, Method
from rgo_bench.records import Record, record_path
from rgo_bench.runs.run import run
from rgo_bench.runs.spec import Spec, make_spec

SHORT: dict[str, Any] = {"tasks": 3, "samples": 60, "epochs": 1}
SETTINGS = [f"--set={key}={value}" for key, value in SHORT.items()]
FEWER = {"rcl": {"trials": 2}}  # of what a method repeats
STEPS = SHORT["samples"] // 10  # of a task
CPU = torch.device("cpu")


def short_spec(method: str = "sgd", seed: int = 0, **options: Any) -> Spec:
    chosen = {**SHORT, **FEWER.get(method, {}), **options}
    return make_spec("permuted-digits", method, seed, chosen)


def path_of(spec: Spec, out: Path) -> Path:
    return record_path(out, spec)


def checkpoint_of(spec: Spec, out: Path) -> Path:
    return path_of(spec, out).with_suffix(".checkpoint")


def files_in(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(folder)) for path in files)


def without_times(record: Record) -> Record:
    return replace(record, seconds=dict.fromkeys(record.seconds, 0.0))


class InterruptedRunError(Exception):
    pass


class Listener:
    """Hears of a run's progress, and interrupts it in a task where one is given."""

    def __init__(self, stop_in: int | None = None) -> None:
        self.stop_in = stop_in
        self.steps: dict[int, int] = {}
        self.accuracy: dict[int, float] = {}

    def stepped(self, task: int, steps: int) -> None:
        if task == self.stop_in:
            raise InterruptedRunError
        self.steps[task] = self.steps.get(task, 0) + steps

    def tested(self, task: int, accuracy: float) -> None:
        self.accuracy[task] = accuracy


def interrupt(spec: Spec, out: Path, stop_in: int, **options: Any) -> Path:
    """Begin a run or go on with it, and return the checkpoint that it leaves."""
    with pytest.raises(InterruptedRunError):
        run(spec, out, reporter=Listener(stop_in), **options)
    return checkpoint_of(spec, out)


def command() -> str:
    found = shutil.which("rgo-bench", path=sysconfig.get_path("scripts"))
    assert found, "rgo-bench is not installed beside this Python"
    return found


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start `rgo-bench`, with nothing in the environment that makes a terminal."""
    pretends = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
    kept = {name: value for name, value in os.environ.items() if name not in pretends}
    return subprocess.Popen(
        [command(), *arguments],
        env=kept | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def equal(one: Any, other: Any) -> bool:
    """Whether two trees of dicts, sequences and tensors are the same, bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        same = isinstance(other, dict) and one.keys() == other.keys()
        return same and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def make_method(
    name: str,
    options: dict[str, Any] | None = None,
    *,
    seed: int = 0,
    masks: Sequence[Tensor | None] = (None,) * 3,
) -> Any:
    """A method by its name, in a tiny setting."""
    entry = METHODS[name]
    chosen = replace(entry.defaults, **(options or {}))
    method: Method = entry.build(tiny_setting(masks)._replace(seed=seed), chosen)
    return method
