"""Run by `test_workers`: two processes, each with half of every task's data."""

import sys

import torch
from integrations.own_loop import TASKS, network, sgd, task_data
from torch import distributed

from rgo_torch import RGO
from rgo_torch.integrations._workers import end_task_together


def main(folder: str, rank: int) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    model = network()
    rgo = RGO(model, sgd(model.parameters()), seed=0)
    for task in range(TASKS):
        x, y = task_data(task)
        rgo.begin_task(task)
        end_task_together(rgo, [(x[rank::2], y[rank::2])])
    torch.save(rgo.state_dict(), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
