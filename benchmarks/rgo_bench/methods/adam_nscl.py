"""Adam-NSCL: Adam's updates in the null space of what earlier tasks feed a layer."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rgo_bench.clock import Clock
from rgo_bench.methods.method import MethodOptions, NetworkMethod, Setting, fitting
from rgo_bench.methods.representations import input_rows, shared_layers
from rgo_bench.methods.weight_projector import freeze_biases
from rgo_bench.streams.options import Positive

# Samples of a forward pass for the covariance, as many as fit into memory.
SAMPLES, INPUTS = 500, 2**19


@dataclass(frozen=True, kw_only=True)
class AdamNSCLOptions(MethodOptions):
    """The options of `AdamNSCL`, from the authors' run of 20 tasks of CIFAR-100."""

    first_lr: Positive = 1e-4  # of the first task
    later_lr: Positive = 5e-5  # of later ones
    head_lr: Positive = 1e-3  # where each task has outputs of its own
    weight_decay: Positive = 5e-5
    ratio: Positive = 30.0  # a: eigenvalues up to a times the least count as zero


class AdamNSCL(NetworkMethod):
    """Adam in the Null Space of Continual Learning (Wang et al., CVPR 2021).

    Each layer keeps the uncentred covariance of all its inputs so far. Where its
    eigenvalues are at most `ratio` times the least one, the eigenvectors V span what
    counts as the null space, and Adam's update D of the weights, seen as (m, n),
    becomes ``D V V^T``. The moments begin anew with every task.

    As in the paper; the authors' programs divide V V^T by its norm besides, which the
    learning rate can make up for. Biases stay as they start: theirs has none. Steps do
    not use the stream's learning rate; theirs take 80 epochs, whose decays of it are
    left out.

    References
    ----------
    Wang, Li, Sun and Xu, "Training Networks in Null Space of Feature Covariance for
    Continual Learning", CVPR 2021, algorithm 1.
    """

    options: AdamNSCLOptions
    kept = ("network", "covariances", "rows")  # Adam's moments begin anew
    compiles: ClassVar[bool] = False

    def __init__(self, setting: Setting, options: AdamNSCLOptions) -> None:
        super().__init__(setting, options)
        self.layers = shared_layers(self.network, setting, "adam-nscl")
        freeze_biases(self.layers)
        self.covariances: dict[str, Tensor] = {}  # (n, n), in float64
        self.rows: dict[str, int] = {}  # how many inputs, patches of a convolution
        self.null: dict[str, Tensor] = {}  # V V^T by layer, in the weights' type
        self._renew_optimizer()

    def begin_task(self, task: int) -> None:
        """Begin Adam's moments anew."""
        super().begin_task(task)
        self._renew_optimizer()

    def step(self, x: Tensor, y: Tensor) -> None:
        """Take a step of Adam, in the null space."""
        before = [layer.weight.detach().clone() for layer in self.layers]
        super().step(x, y)
        with torch.no_grad():
            for layer, start in zip(self.layers, before, strict=True):
                if layer.name in self.null:
                    update = (layer.weight - start).flatten(1) @ self.null[layer.name]
                    layer.weight.copy_(start + update.reshape(start.shape))

    def end_task(self, x: Tensor, y: Tensor, clock: Clock) -> None:
        """Take the task's inputs into the covariances, and find their null spaces."""
        with clock.phase("consolidate"):
            for part in torch.split(x, fitting(SAMPLES, INPUTS, x.shape[1:])):
                rows = input_rows(self.network, self.layers, part)
                for name, inputs in rows.items():
                    wide, before = inputs.double(), self.covariances.get(name, 0)
                    self.covariances[name] = before + wide.T @ wide
                    self.rows[name] = self.rows.get(name, 0) + len(wide)
            self.restored()

    def restored(self) -> None:
        """Find the null spaces of the covariances."""
        for layer in self.layers:
            if layer.name in self.covariances:
                mean = self.covariances[layer.name] / self.rows[layer.name]
                V = null_space(mean, self.options.ratio)
                self.null[layer.name] = (V @ V.T).to(layer.weight.dtype)

    def _renew_optimizer(self) -> None:
        options = self.options
        lr = options.later_lr if self.current else options.first_lr
        body = [layer.weight for layer in self.layers]
        ours = {id(weight) for weight in body}
        free = [p for p in self.network.parameters() if p.requires_grad]
        head = [p for p in free if id(p) not in ours]
        groups = [{"params": body, "lr": lr, "weight_decay": options.weight_decay}]
        groups += [{"params": head, "lr": options.head_lr}] if head else []
        self.optimizer = torch.optim.Adam(groups, fused=True)


def null_space(covariance: Tensor, ratio: float) -> Tensor:
    """Return V (n, k), eigenvectors with values up to `ratio` times the least.

    What rounding leaves of zero counts as zero: k >= 1.
    """
    values, vectors = torch.linalg.eigh(covariance)
    rounding = torch.finfo(values.dtype).eps * len(values) * values[-1]
    chosen: Tensor = vectors[:, values <= ratio * values[0].clamp(min=0) + rounding]
    return chosen
