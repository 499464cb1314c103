"""A classifier of the Trainer's kind, and Trainers that learn the tasks with it."""

from pathlib import Path
from typing import Any

import torch
import transformers
from integrations.own_loop import STEPS, network, task_data
from torch import Tensor, nn
from torch.nn import functional

STEP = 0.01


class Classifier(nn.Module):
    """Takes and returns what the Trainer's models do."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Any]:
        logits = self.network(x)
        loss = None if labels is None else functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits}


def arguments(folder: Path, **options: Any) -> Any:
    """One step an epoch, since a batch holds all the data."""
    given = {
        "per_device_train_batch_size": 16,
        "num_train_epochs": STEPS,
        "learning_rate": STEP,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    }
    return transformers.TrainingArguments(output_dir=str(folder), **given | options)


def samples(task: int) -> list[dict[str, Tensor]]:
    return [{"x": x, "labels": y} for x, y in zip(*task_data(task), strict=True)]


def trainer(
    model: nn.Module, folder: Path, tasks: Any, task: int, **options: Any
) -> Any:
    return transformers.Trainer(
        model,
        arguments(folder, **options),
        train_dataset=samples(task),
        callbacks=[tasks],
    )


def adamw(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=STEP, weight_decay=0.0)
