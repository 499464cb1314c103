"""Steps, memory and agreement of models that are cut up: `python sharded.py OUT`.

A transformer encoder learns two tasks in 1, 2 and 4 processes at one global batch, its
blocks and the whole cut up by `fully_shard`, or with `--parallel` its layers by tensor
parallelism; with AdamW alone, with RGO, and with RGO that does not encode. Steps of all
are taken in turn, and the ratios are of medians; one process has the model whole.
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
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)
from torch.nn import functional

from rgo_bench.records import describe_environment, write_json
from rgo_torch import RGO

COUNTS, TASKS, BATCH, STEPS = (1, 2, 4), 2, 32, 12
WIDTH, LENGTH, DEPTH, CLASSES = 128, 32, 4, 10


class Block(nn.Module):
    """Attention of four heads and a feed-forward part, of layers that can be cut up."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (
            nn.Linear(WIDTH, WIDTH) for _ in range(4)
        )
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens (b, length, WIDTH), of the heads that are here."""
        heads = (*x.shape[:2], -1, WIDTH // 4)
        layers = (self.query, self.key, self.value)
        parts = (layer(x).reshape(heads).transpose(1, 2) for layer in layers)
        attended = functional.scaled_dot_product_attention(*parts)
        x = self.norms[0](x + self.out(attended.transpose(1, 2).flatten(2)))
        hidden: Tensor = self.norms[1](x + self.down(torch.relu(self.up(x))))
        return hidden


PLAN = {
    **dict.fromkeys(("query", "key", "value", "up"), ColwiseParallel),
    **dict.fromkeys(("out", "down"), RowwiseParallel),
}


class Encoder(nn.Module):
    """Blocks of attention between a linear layer and a head."""

    def __init__(self, parallel: bool) -> None:
        super().__init__()
        self.into = nn.Linear(16, WIDTH)
        self.blocks = nn.ModuleList(
            Block()
            if parallel
            else nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, 0.0, batch_first=True)
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


def share(
    task: int, step: int, dtype: torch.dtype, parallel: bool
) -> tuple[Tensor, Tensor]:
    """Return this process's part of a batch that is the same for any number."""
    generator = torch.Generator().manual_seed(1000 * task + step)
    x = torch.randn(BATCH, LENGTH, 16, generator=generator, dtype=torch.float64)
    y = x[:, :, :CLASSES].mean(1).argmax(1)
    rank, count = 0, 1
    if distributed.is_initialized() and not parallel:
        rank, count = distributed.get_rank(), distributed.get_world_size()
    return x[rank::count].to(dtype), y[rank::count]


def made(dtype: torch.dtype, parallel: bool) -> nn.Module:
    """Return the model, cut up where there are several processes."""
    torch.manual_seed(0)
    model = Encoder(parallel).to(dtype)
    if distributed.is_initialized():
        mesh = distributed.device_mesh.init_device_mesh(
            "cpu", (distributed.get_world_size(),)
        )
        for block in model.blocks:
            if parallel:
                parallelize_module(block, mesh, {n: way() for n, way in PLAN.items()})
            else:
                fully_shard(block, mesh=mesh)
        if not parallel:
            fully_shard(model, mesh=mesh)
    return model


class Learner:
    """A model with its optimizer, whose steps are timed."""

    def __init__(self, dtype: torch.dtype, parallel: bool) -> None:
        self.dtype, self.parallel = dtype, parallel
        self.model = made(dtype, parallel)
        # Not by lists: those may not hold DTensors and tensors alike.
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), 1e-3, eps=1e-4, foreach=False if parallel else None
        )
        self.seconds: list[float] = []

    def step(self, task: int, number: int) -> None:
        """Take one step."""
        x, y = share(task, number, self.dtype, self.parallel)
        start = time.perf_counter()
        self.optimizer.zero_grad()
        functional.cross_entropy(self.model(x), y).backward()
        self.optimizer.step()
        self.seconds.append(time.perf_counter() - start)


def learn(dtype: torch.dtype, parallel: bool) -> dict[str, Any]:
    """Learn in one of several processes, and return what that took and gave."""
    torch.set_num_threads(1)
    plain, protected, unencoded = (Learner(dtype, parallel) for _ in range(3))
    rgo = RGO(protected.model, protected.optimizer, seed=0)
    bare = RGO(unencoded.model, unencoded.optimizer, seed=0, encode=False)
    passes = []
    for task in range(TASKS):
        for each in (rgo, bare):
            each.begin_task(task)
        for number in range(STEPS):
            for learner in (plain, protected, unencoded):
                learner.step(task, number)
        samples = [share(task, number, dtype, parallel) for number in range(STEPS)]
        start = time.perf_counter()
        rgo.end_task(samples)
        passes.append(time.perf_counter() - start)
        bare.end_task(samples)
    model = protected.model
    kept = [p.to_local() if hasattr(p, "to_local") else p for p in model.parameters()]
    weights = {n: _whole(p) for n, p in model.state_dict().items()}
    # Of the last task, the first steps of which bring projections to their places.
    plain_ms, rgo_ms, bare_ms = (
        1e3 * statistics.median(learner.seconds[-STEPS + 2 :])
        for learner in (plain, protected, unencoded)
    )
    return {
        "plain ms": plain_ms,
        "rgo ms": rgo_ms,
        "unencoded ms": bare_ms,
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
    parser.add_argument("--parallel", action="store_true")
    chosen = parser.parse_args()
    rows: list[dict[str, Any]] = []
    exact: dict[str, Any] = {}
    for count in COUNTS:
        first, *_ = in_processes(count, partial(learn, torch.float64, chosen.parallel))
        exact = exact or first
        ranks = in_processes(count, partial(learn, torch.float32, chosen.parallel))
        row = {
            "processes": count,
            "weights in float64, to one process": distance(
                first["weights"], exact["weights"]
            ),
            "ratio of steps": ranks[0]["rgo ms"] / ranks[0]["plain ms"],
        }
        told = ("plain ms", "rgo ms", "unencoded ms", "end of a task, s", "weights KiB")
        rows.append(row | {name: [rank[name] for rank in ranks] for name in told})
        print(json.dumps(rows[-1]), flush=True)
    environment = describe_environment("torch", device="cpu", threads=1)
    write_json(chosen.out, {"rows": rows, "environment": environment})


if __name__ == "__main__":
    main()
