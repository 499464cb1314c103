"""Run by `test_adapted_workers`: two processes that share an adapter's inputs."""

import sys
from pathlib import Path
from typing import Any

import torch
from forked import fork
from torch import distributed
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch_backend.small_adapters import Logits, adamw, adapted, batch

from rgo_torch import RGO

RANKS, TASKS = 2, 3
TARGETS = ("query", "key", "value")
OPTIONS: dict[str, dict[str, Any]] = {
    "shared": {"shared_inputs": [TARGETS]},
    "apart": {},
    "sharded": {"shared_inputs": [TARGETS], "moments": "sharded"},
}


def trained(rank: int = 0, count: int = 1, **options: Any) -> dict[str, Any]:
    """Run the same loop in one process of several, or alone."""
    model: Any = Logits(adapted(target_modules=list(TARGETS)))
    called = DistributedDataParallel(model) if count > 1 else model
    optimizer = adamw(model)
    rgo = RGO(called, optimizer, seed=7, **options)
    for task in range(TASKS):
        words, labels = (part[rank::count] for part in batch(task))
        rgo.begin_task(task)
        for _ in range(3):
            optimizer.zero_grad()
            functional.cross_entropy(called(words), labels).backward()
            optimizer.step()
        rgo.end_task([(words, labels)])
    weights = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    return {"projections": rgo.projector.projections, "weights": weights}


def work(rank: int, folder: Path) -> None:
    found = {
        name: trained(rank, distributed.get_world_size(), **options)
        for name, options in OPTIONS.items()
    }
    torch.save(found, folder / f"{rank}.pt")


if __name__ == "__main__":
    fork(RANKS, work, Path(sys.argv[1]))
