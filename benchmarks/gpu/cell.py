"""One cell of a table as a run that a cut loses nothing of.

``cell.py METHOD NETWORK --out FOLDER`` learns split CIFAR-100 from seed 0. After every
task it writes what it has so far to ``FOLDER/cells``; when all tasks are learned, a
record to ``FOLDER/records``.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rgo_bench.records import percent_rows, write_json, write_record
from rgo_bench.runs.reporter import Silent
from rgo_bench.runs.run import Running, begin_run
from rgo_bench.runs.spec import make_spec
from rgo_core import average_accuracy, backward_transfer

DRY_OPTIONS = {"tasks": 2, "samples": 20, "epochs": 1}


def main() -> None:
    """Learn task after task until all are learned or the time is up."""
    asked = _parse()
    end = time.monotonic() + asked.seconds
    torch.set_num_threads(1)
    stream, options = "split-cifar100", {}
    if asked.dry_run:
        stream, options = "split-digits", DRY_OPTIONS
    spec = make_spec(stream, asked.method, 0, options, network=asked.network)
    running = begin_run(spec, asked.device, compiled=asked.compile)
    so_far, longest = running.so_far, 0.0
    while so_far.task < so_far.stream.tasks and time.monotonic() + longest < end:
        began = time.monotonic()
        running.learn(Silent())
        longest = max(longest, time.monotonic() - began)
        _write_part(asked.out / "cells", running)
    if so_far.task == so_far.stream.tasks:
        write_record(asked.out / "records", running.record())


def _write_part(folder: Path, running: Running) -> None:
    """Write the accuracies so far, whole or not at all."""
    so_far = running.so_far
    spec, tasks = so_far.spec, so_far.task
    matrix = so_far.accuracy[:tasks, :tasks]
    content: dict[str, Any] = {
        "stream": spec.stream,
        "method": spec.method,
        "network": spec.network,
        "seed": spec.seed,
        "config": spec.config,
        "tasks": tasks,
        "acc": float(average_accuracy(matrix)),
        "bwt": float(backward_transfer(matrix)) if tasks > 1 else None,
        "learning": float(np.diagonal(matrix).mean()),
        "accuracy": percent_rows(matrix),
        "seconds": so_far.clock.seconds,
        "device": _device_name(),
    }
    write_json(folder / f"{spec.method}-{spec.network}.json", content, indent=2)


def _device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method")
    parser.add_argument("network")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
