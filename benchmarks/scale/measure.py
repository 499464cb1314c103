"""Seconds, memory and agreement of 1, 2 and 4 processes: `python measure.py OUT`.

Each run learns two tasks at equal global batches. Collective calls are timed where all
processes have just met, so that nobody's lateness counts.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from forks import in_processes
from torch import Tensor

import rgo_torch
from rgo_bench.methods.method import fitting
from rgo_bench.methods.rgo import SAMPLE_BATCH, SAMPLE_INPUTS
from rgo_bench.networks import NETWORKS
from rgo_bench.records import describe_environment, write_json
from rgo_bench.runs.reporter import Silent
from rgo_bench.runs.run import begin_run
from rgo_bench.runs.spec import make_spec
from rgo_bench.streams import make_stream
from rgo_bench.team import Team
from rgo_torch.distributed import workers

# As RGO was by default when what `docs/scale.md` shows was measured.
SCALED = {"weights": "normalized"}
RUNS: dict[str, dict[str, Any]] = {
    "mlp": {
        "stream": "permuted-mnist",
        "network": None,
        "options": {"samples": 2000, **SCALED},
    },
    "lenet-5": {
        "stream": "split-cifar100",
        "network": "lenet-5",
        "options": {"epochs": 1, "samples": 2000, "damping": 0.03, **SCALED},
    },
}
TASKS, COUNTS = 2, (1, 2, 4)


class Timed:
    """A function, with the seconds and the calls it took."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.seconds = function, 0.0

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Call it."""
        start = time.perf_counter()
        try:
            return self.function(*args, **options)
        finally:
            self.seconds += time.perf_counter() - start


def learn(name: str, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """Learn two tasks in this process's share, and return what that took and gave."""
    torch.set_num_threads(1)
    torch.set_default_dtype(dtype)
    summing, sending = Timed(workers.sum_moments), Timed(workers.spread)
    workers.sum_moments, workers.spread = summing, sending
    chosen = RUNS[name]
    options = {"tasks": 20, **chosen["options"]}
    spec = make_spec(chosen["stream"], "rgo", 0, options, network=chosen["network"])
    running: Any = begin_run(spec)
    start = time.perf_counter()
    for _ in range(TASKS):
        running.learn(Silent())
    total = time.perf_counter() - start
    rgo = running.method.rgo
    return {
        "seconds": {"whole": total, **running.so_far.clock.seconds},
        "summing": summing.seconds,
        "sending": sending.seconds,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 2**10,
        "weights": numbers(running.method.network.state_dict()),
        "projections": numbers(rgo.projector.projections),
        "accuracy": running.so_far.accuracy[TASKS - 1, :TASKS].tolist(),
    }


def observe(name: str, moments: str) -> dict[str, Any]:
    """End one task of a network in float64, at its first weights."""
    torch.set_num_threads(1)
    team, chosen = Team(), RUNS[name]
    spec = make_spec(chosen["stream"], "rgo", 0, {}, network=chosen["network"])
    stream = make_stream(
        spec.stream, seed=0, data=spec.data, **spec.stream_options.as_dict()
    )
    model = NETWORKS[spec.network](stream.input_shape, stream.classes, 0).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    chosen_moments = moments if team.count > 1 else "replicated"
    rgo = rgo_torch.RGO(model, optimizer, seed=0, moments=chosen_moments)
    samples = stream.train(0)
    x, y = torch.from_numpy(samples.x)[:2000].double(), torch.from_numpy(samples.y)
    x, y = team.share(x), team.share(y[:2000])
    size = fitting(SAMPLE_BATCH, SAMPLE_INPUTS, x.shape[1:])
    rgo.begin_task(0)
    rgo.end_task(list(zip(x.split(size), y.split(size), strict=True)))
    kept = rgo.projector.moments.values()
    return {
        "projections": numbers(rgo.projector.projections),
        "bytes": sum(m[0].numel() * 8 for m in kept),
    }


def drifted(name: str) -> Iterator[dict[str, Any]]:
    """Yield how far from one process several are after two tasks in float64."""
    one: dict[str, Any] = {}
    for count in COUNTS:
        first, *_ = in_processes(count, partial(learn, name, torch.float64))
        one = one or first
        yield {
            "network": name,
            "processes": count,
            "P": distance(first["projections"], one["projections"]),
            "weights": distance(first["weights"], one["weights"]),
            "accuracy": first["accuracy"],
        }


def numbers(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Return tensors as arrays."""
    return {name: tensor.numpy().copy() for name, tensor in tensors.items()}


def distance(found: dict[str, Any], expected: dict[str, Any]) -> float:
    """Return the largest relative Frobenius distance."""
    return max(
        float(np.linalg.norm(found[n] - expected[n]) / np.linalg.norm(expected[n]))
        for n in expected
    )


def same(ranks: list[dict[str, Any]], what: str) -> bool:
    """Return whether all ranks have the same to the bit."""
    first = ranks[0][what]
    return all(np.array_equal(rank[what][n], first[n]) for rank in ranks for n in first)


def measured(name: str) -> Iterator[dict[str, Any]]:
    """Yield a row for each number of processes."""
    one: dict[str, Any] = {}
    for count in COUNTS:
        ranks = in_processes(count, partial(learn, name))
        whole = in_processes(count, partial(observe, name, "replicated"))
        parts = in_processes(count, partial(observe, name, "sharded"))
        if count == 1:
            one = {"run": ranks[0], "end": whole[0]}
        seconds = max(rank["seconds"]["whole"] for rank in ranks)
        summing = max(rank["summing"] for rank in ranks)
        yield {
            "network": name,
            "processes": count,
            "seconds": ranks[0]["seconds"],
            "summing": [rank["summing"] for rank in ranks],
            "sending": [rank["sending"] for rank in ranks],
            "summing share in percent": 100 * summing / seconds,
            "peak MiB": [rank["peak"] / 2**20 for rank in ranks],
            "H MiB, replicated": [rank["bytes"] / 2**20 for rank in whole],
            "H MiB, sharded": [rank["bytes"] / 2**20 for rank in parts],
            "P in float64, to one process": distance(
                whole[0]["projections"], one["end"]["projections"]
            ),
            "P the same on all ranks": same(whole, "projections")
            and same(parts, "projections")
            and same(ranks, "projections"),
            "P after two tasks, to one process": distance(
                ranks[0]["projections"], one["run"]["projections"]
            ),
            "weights after two tasks, to one process": distance(
                ranks[0]["weights"], one["run"]["weights"]
            ),
            "accuracy": ranks[0]["accuracy"],
        }


def table(found: dict[str, Any]) -> str:
    """Return the rows as a table of docs/scale.md."""
    heads = (
        *("network", "processes", "run, s", "train, s", "curvature, s"),
        *("invert and send, s", "sum, s", "sum, % of run", "peak MiB a rank"),
        *("H MiB a rank, sharded", "P in float64", "P after two tasks", "weights"),
    )
    lines = ["| " + " | ".join(heads) + " |", "| --- |" + " --: |" * (len(heads) - 1)]
    for row in found["rows"]:
        seconds = row["seconds"]
        cells = (
            row["network"],
            row["processes"],
            *(
                f"{seconds[phase]:.1f}"
                for phase in ("whole", "train", "curvature", "consolidate")
            ),
            f"{max(row['summing']):.3f}",
            f"{row['summing share in percent']:.2f}",
            ", ".join(f"{peak:.0f}" for peak in row["peak MiB"]),
            ", ".join(f"{kept:.1f}" for kept in row["H MiB, sharded"]),
            f"{row['P in float64, to one process']:.0e}",
            f"{row['P after two tasks, to one process']:.0e}",
            f"{row['weights after two tasks, to one process']:.0e}",
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--network", choices=RUNS, action="append")
    parser.add_argument("--float64", action="store_true", help="agreement alone")
    chosen = parser.parse_args()
    found: dict[str, Any] = {"rows": []}
    if chosen.out.exists():
        found = json.loads(chosen.out.read_text())
    part, measure = ("float64", drifted) if chosen.float64 else ("rows", measured)
    for name in chosen.network or RUNS:
        kept = found.get(part, [])
        found[part] = [row for row in kept if row["network"] != name]
        for row in measure(name):
            print(json.dumps(row), flush=True)
            found[part].append(row)
            environment = describe_environment("torch", device="cpu", threads=1)
            found["environment"] = environment
            write_json(chosen.out, found)
    print(table(found))


if __name__ == "__main__":
    main()
