"""Run by `test_workers`: two processes, each with half of every task's data."""

import sys
from collections.abc import Callable
from typing import Any

import torch
from integrations.own_loop import TASKS, network, sgd, task_data
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch_backend.nets import loss_of

from rgo_torch import RGO


def share(task: int) -> tuple[Tensor, Tensor]:
    x, y = task_data(task)
    rank = distributed.get_rank()
    return x[rank::2], y[rank::2]


def trained(**options: Any) -> dict[str, Any]:
    """Run the loop of one worker, unchanged, in each of two."""
    model = network()
    parallel = DistributedDataParallel(model)
    optimizer = sgd(parallel.parameters())
    rgo = RGO(parallel, optimizer, seed=0)
    for task in range(TASKS):
        rgo.begin_task(task)
        for _ in range(3):
            optimizer.zero_grad()
            loss_of(parallel, *share(task)).backward()
            optimizer.step()
        rgo.end_task([share(task)], **options)
    return {"state": rgo.state_dict(), "model": model.state_dict()}


def message(ends: Callable[[RGO], object], **options: Any) -> str:
    """Return what a worker says of a task that does not end."""
    model: nn.Module = network()
    rgo = RGO(model, sgd(model.parameters()), **options)
    rgo.begin_task(0)
    try:
        ends(rgo)
    except (ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def main(folder: str) -> None:
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    found = {
        "together": trained(),
        "apart": trained(together=False),
        # The second worker has no data, or another damping.
        "none": message(lambda rgo: rgo.end_task([share(0)] if rank == 0 else [])),
        "other": message(lambda rgo: rgo.end_task([share(0)]), damping=1.0 + rank),
    }
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
