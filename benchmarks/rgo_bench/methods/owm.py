"""OWM: gradients kept away from the inputs of earlier mini-batches."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

import rgo_core
from rgo_bench.clock import Clock
from rgo_bench.methods.method import MethodOptions, NetworkMethod, Setting
from rgo_bench.methods.representations import input_rows, recorded_inputs
from rgo_bench.methods.weight_projector import Biases, freeze_biases, project_weights
from rgo_bench.streams.options import Positive
from rgo_torch.layers.rows import RowLayer, rows_of
from rgo_torch.layout import row_layers

# Means folded into a projection together: a block costs less than its vectors.
BLOCK = 128


@dataclass(frozen=True, kw_only=True)
class OWMOptions(MethodOptions):
    """The options of `OWM`."""

    damping: Positive = 1.0  # alpha
    observe: Literal["step", "task"] = "step"  # when the inputs are folded into P
    biases: Biases = "frozen"


class OWM(NetworkMethod):
    """Orthogonal Weights Modification (Zeng et al., Nature Machine Intelligence 2019).

    Each layer's P starts as the identity and takes in r, the mean input over a
    mini-batch: ``P <- P - k k^T / (alpha + r^T k)``, ``k = P r``. A step uses ``P G``.
    The recursion is RGO's (`rgo_core.update_projection`), with other vectors, and
    without the normalisation of the trace.

    With ``observe="step"`` P takes in every mini-batch in training, before it is used,
    as in the authors' programs; with ``"task"`` in a second pass after the task, which
    leaves the task itself free to learn: that remembers more, in trials of one
    seed, and a step costs less, not least on a GPU: with ``"step"`` the recursion
    waits there for the answer to whether the inputs are finite. As in the authors' MLP
    the biases are not trained, unless ``biases="free"``. Their alpha shrinks within a
    task in some experiments, ours does not.

    References
    ----------
    Zeng, Chen, Cui and Yu, "Continual Learning of Context-Dependent Processing in
    Neural Networks", Nature Machine Intelligence 2019.
    """

    options: OWMOptions
    kept = (*NetworkMethod.kept, "projections")
    # A step records what the layers take in, which compiled code does not show.
    compiles: ClassVar[bool] = False

    def __init__(self, setting: Setting, options: OWMOptions) -> None:
        super().__init__(setting, options)
        self.layers = row_layers(self.network)
        self.matrices = project_weights(self.network, self.layers)
        self.projections = {layer.name: self._identity(layer) for layer in self.layers}
        if options.biases == "frozen":
            freeze_biases(self.layers)

    def step(self, x: Tensor, y: Tensor) -> None:
        """Take one SGD step along the projected gradient."""
        self.optimizer.zero_grad()
        with recorded_inputs(self.layers) as inputs:
            loss = self.loss(x, y)
        if self.options.observe == "step":
            for layer in self.layers:
                rows = rows_of(layer.input_rows(inputs[layer.name]))
                self._fold(layer.name, rows.mean(-2))
            self.restored()
        loss.backward()
        self.optimizer.step()

    def end_task(self, x: Tensor, y: Tensor, clock: Clock) -> None:
        """Fold the task's inputs into P, unless every step did."""
        if self.options.observe == "step":
            return
        with clock.phase("consolidate"):
            means: dict[str, list[Tensor]] = {layer.name: [] for layer in self.layers}
            for batch in torch.split(x, self.setting.batch):
                rows = input_rows(self.network, self.layers, batch)
                for name, inputs in rows.items():
                    means[name].append(inputs.mean(-2))
            for name, vectors in means.items():
                for block in torch.split(torch.stack(vectors, dim=-2), BLOCK, dim=-2):
                    self._fold(name, block)
            self.restored()

    def restored(self) -> None:
        """Project with P."""
        for layer in self.layers:
            P = self.projections[layer.name]
            self.matrices[layer.name] = P.to(layer.weight.dtype)

    def _identity(self, layer: RowLayer) -> Tensor:
        weight = layer.weight
        # Once a task there is time for float64; at every step it costs twice as much.
        dtype = torch.float64 if self.options.observe == "task" else weight.dtype
        P = torch.eye(layer.features, dtype=dtype, device=weight.device)
        return P if layer.groups == 1 else P.repeat(layer.groups, 1, 1)

    def _fold(self, name: str, vectors: Tensor) -> None:
        P = self.projections[name]
        damping = self.options.damping
        self.projections[name] = rgo_core.update_projection(P, vectors, damping)
