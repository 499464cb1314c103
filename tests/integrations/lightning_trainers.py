"""A module of Lightning's, and Trainers that learn the tasks with it."""

from pathlib import Path
from typing import Any

import lightning
from integrations.own_loop import STEPS, MakeOptimizer, Wrapped, sgd
from torch.nn import functional


class Module(lightning.LightningModule):
    """The wrapped network, with automatic or manual optimization."""

    def __init__(
        self, make_optimizer: MakeOptimizer = sgd, manual: bool = False
    ) -> None:
        super().__init__()
        self.network = Wrapped().network
        self.make_optimizer = make_optimizer
        self.automatic_optimization = not manual

    def forward(self, x: Any) -> Any:
        return self.network(x)

    def configure_optimizers(self) -> Any:
        return self.make_optimizer(self.parameters())

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        loss = functional.cross_entropy(self(x), y)
        if not self.automatic_optimization:
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        return loss

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return self(batch[0])


def trainer(tasks: Any, folder: Path, **options: Any) -> Any:
    given = {
        "max_epochs": STEPS,
        "callbacks": [tasks],
        "accelerator": "cpu",
        "precision": "64-true",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": folder,
    }
    return lightning.Trainer(**given | options)
