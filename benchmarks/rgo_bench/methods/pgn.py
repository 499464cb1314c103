"""PGN: a new column of units for every task, fed by all columns before."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from rgo_bench.methods.growing import GrowingMethod
from rgo_bench.methods.method import MethodOptions, Setting
from rgo_bench.streams.options import Positive


@dataclass(frozen=True, kw_only=True)
class PGNOptions(MethodOptions):
    """The options of `PGN`."""

    width: Positive = 0.057  # of a later column, of the first; no paper states it


class PGN(GrowingMethod):
    """Progressive Neural Networks (Rusu et al., 2016).

    The first task trains the whole network. Every later one adds a column: some units
    to each layer, which see those of all columns below, ``h_l^(t) = f(W_l h_(l-1)^(t) +
    sum_(j<t) U_l^(t:j) h_(l-1)^(j))``, and a head over all columns. What was there
    before is frozen: no task forgets.

    This is the paper's equation 1, without its adapters, which belong to columns as
    wide as the first. Its columns all are: 20 of them with all their lateral
    connections would have 210 times the weights of one. The width of later columns is
    chosen so that 20 tasks come to about the 271 percent that Yoon et al. (2020) state
    for it with LeNet-5. Steps are plain SGD's, with the stream's learning rate.

    References
    ----------
    Rusu, Rabinowitz, Desjardins, Soyer, Kirkpatrick, Kavukcuoglu, Pascanu and Hadsell,
    "Progressive Neural Networks", 2016, equation 1.
    """

    options: PGNOptions
    keeps_tasks: ClassVar[bool] = True

    def __init__(self, setting: Setting, options: PGNOptions) -> None:
        super().__init__(setting, options)
        self.frozen = [0] * len(self.network.names)  # units of earlier columns

    def begin_task(self, task: int) -> None:
        """Add the task's column and head."""
        super().begin_task(task)
        network = self.network
        if task:
            self.frozen = network.widths
            added = [max(1, round(self.options.width * m)) for m in network.first]
            network.grow(added)
        network.add_head(task)
        self.optimizer = torch.optim.SGD(network.parameters(task), lr=self.setting.lr)

    def step(self, x: Tensor, y: Tensor) -> None:
        """Take an SGD step on the task's column and head."""
        self.optimizer.zero_grad()
        loss = functional.cross_entropy(self.network.logits(x, self.current), y)
        loss.backward()
        for name, units in zip(self.network.names, self.frozen, strict=True):
            for own in (self.network.weights, self.network.biases):
                gradient = own[name].grad if name in own else None
                if gradient is not None:
                    gradient[:units] = 0
        self.optimizer.step()

    def capacity(self) -> float:
        """Return the weights of all columns and heads, in percent of one network's.

        Without the zeros that lead from later columns to earlier ones: they are kept,
        as parts of whole matrices, and stand for no connection.
        """
        zeros = sum(int((w == 0).sum()) for w in self.network.weights.values())
        return self.network.capacity() - 100 * zeros / self.network.size
