"""Steps, memory and agreement of `fully_shard`: `python sharded.py OUT`.

A transformer encoder learns two tasks in 1, 2 and 4 processes at one global batch, its
blocks and the whole sharded, with AdamW alone and with RGO. Steps of both are taken in
turn, and the ratio is of medians; one process has the model whole.
"""

import argparse
import json
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from forks import in_processes
from measure import distance, numbers
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import fully_shard
from torch.nn import functional

from rgo_bench.records import describe_environment, write_json
from rgo_torch import RGO

COUNTS, TASKS, BATCH, STEPS = (1, 2, 4), 2, 32, 12
WIDTH, LENGTH, DEPTH, CLASSES = 128, 32, 4, 10


class Encoder(nn.Module):
    """Blocks of attention between a linear layer and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(16, WIDTH)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, 0.0, batch_first=True)
            for _ in range(DEPTH)
        )
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of sequences (b, length, 16)."""
        h = self.into(x)
        for block in self.blocks:
            h = block(h)
        logits: Tensor = self.head(h.mean(1))
        return logits


def share(task: int, step: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return this process's part of a batch that is the same for any number."""
    generator = torch.Generator().manual_seed(1000 * task + step)
    x = torch.randn(BATCH, LENGTH, 16, generator=generator, dtype=torch.float64)
    y = x[:, :, :CLASSES].mean(1).argmax(1)
    rank, count = 0, 1
    if distributed.is_initialized():
        rank, count = distributed.get_rank(), distributed.get_world_size()
    return x[rank::count].to(dtype), y[rank::count]


def made(dtype: torch.dtype) -> nn.Module:
    """Return the model, sharded where there are several processes."""
    torch.manual_seed(0)
    model = Encoder().to(dtype)
    if distributed.is_initialized():
        mesh = distributed.device_mesh.init_device_mesh(
            "cpu", (distributed.get_world_size(),)
        )
        for block in model.blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
    return model


class Learner:
    """A model with its optimizer, whose steps are timed."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.model = made(dtype)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-3, eps=1e-4)
        self.seconds: list[float] = []

    def step(self, task: int, number: int) -> None:
        """Take one step."""
        x, y = share(task, number, self.dtype)
        start = time.perf_counter()
        self.optimizer.zero_grad()
        functional.cross_entropy(self.model(x), y).backward()
        self.optimizer.step()
        self.seconds.append(time.perf_counter() - start)


def learn(dtype: torch.dtype) -> dict[str, Any]:
    """Learn in one of several processes, and return what that took and gave."""
    torch.set_num_threads(1)
    plain, protected = Learner(dtype), Learner(dtype)
    rgo = RGO(protected.model, protected.optimizer, seed=0)
    passes = []
    for task in range(TASKS):
        rgo.begin_task(task)
        for number in range(STEPS):
            plain.step(task, number)
            protected.step(task, number)
        start = time.perf_counter()
        rgo.end_task([share(task, number, dtype) for number in range(STEPS)])
        passes.append(time.perf_counter() - start)
    model = protected.model
    kept = [p.to_local() if hasattr(p, "to_local") else p for p in model.parameters()]
    weights = {n: _whole(p) for n, p in model.state_dict().items()}
    # Of the last task, the first steps of which bring projections to their places.
    steps = [learner.seconds[-STEPS + 2 :] for learner in (plain, protected)]
    return {
        "plain ms": 1e3 * statistics.median(steps[0]),
        "rgo ms": 1e3 * statistics.median(steps[1]),
        "end of a task, s": statistics.median(passes),
        "weights KiB": sum(p.numel() * p.element_size() for p in kept) / 2**10,
        "weights": numbers(weights),
    }


def _whole(tensor: Any) -> Tensor:
    whole: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return whole.detach()


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    chosen = parser.parse_args()
    rows: list[dict[str, Any]] = []
    exact: dict[str, Any] = {}
    for count in COUNTS:
        first, *_ = in_processes(count, partial(learn, torch.float64))
        exact = exact or first
        ranks = in_processes(count, partial(learn, torch.float32))
        row = {
            "processes": count,
            "weights in float64, to one process": distance(
                first["weights"], exact["weights"]
            ),
            "ratio of steps": ranks[0]["rgo ms"] / ranks[0]["plain ms"],
        }
        told = ("plain ms", "rgo ms", "end of a task, s", "weights KiB")
        rows.append(row | {name: [rank[name] for rank in ranks] for name in told})
        print(json.dumps(rows[-1]), flush=True)
    environment = describe_environment("torch", device="cpu", threads=1)
    write_json(chosen.out, {"rows": rows, "environment": environment})


if __name__ == "__main__":
    main()
