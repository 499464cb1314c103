"""Run by `test_two_processes`: two processes that train together, as torchrun's do."""

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from forked import fork
from integrations.lightning_trainers import Module
from integrations.lightning_trainers import trainer as lightning_trainer
from integrations.own_loop import TASKS, adam, task_data
from integrations.trainers import Classifier
from integrations.trainers import trainer as hugging_face_trainer
from torch.utils.data import DataLoader

from rgo_torch.integrations import huggingface, lightning_callback


def with_hugging_face(folder: Path, processes: int) -> dict[str, Any]:
    """Learn the tasks, of which each process has a part of the one batch."""
    model, tasks = Classifier(), huggingface.RGOCallback(seed=3)
    size = {"per_device_train_batch_size": 16 // processes}
    for task in range(TASKS):
        hugging_face_trainer(model, folder, tasks, task, **size).train()
    return {"weights": model.state_dict(), "state": tasks.state_dict()}


def with_lightning(folder: Path, processes: int) -> dict[str, Any]:
    """Learn the tasks, of which each process has a part of the one batch."""
    module, tasks = Module(adam), lightning_callback.RGOCallback(seed=3)
    strategy = {"strategy": "ddp"} if processes > 1 else {}
    for task in range(TASKS):
        samples = list(zip(*task_data(task), strict=True))
        lightning_trainer(tasks, folder, devices=processes, **strategy).fit(
            module, DataLoader(samples, batch_size=16 // processes)
        )
    return {"weights": module.state_dict(), "state": tasks.state_dict()}


BY: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "hugging-face": with_hugging_face,
    "lightning": with_lightning,
}


def work(rank: int, folder: Path) -> None:
    os.environ |= {
        "RANK": f"{rank}",
        "LOCAL_RANK": f"{rank}",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29500",  # of the group that there is: nothing listens
        "TORCHELASTIC_RUN_ID": "test",
    }
    for name, learn in BY.items():
        torch.save(learn(folder, 2), folder / f"{name}-{rank}.pt")


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # the libraries' own
    fork(2, work, Path(sys.argv[1]))
