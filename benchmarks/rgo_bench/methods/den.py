"""DEN: retrain what a task needs, add units where that fails, split what drifted."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from rgo_bench.methods.den_units import (
    drop_empty,
    reached,
    shrink,
    shrink_groups,
    split_drifted,
)
from rgo_bench.methods.growing import GrowingMethod, GrowingNetwork
from rgo_bench.methods.method import MethodOptions, Setting
from rgo_bench.methods.passes import Free, mini_batches, train
from rgo_bench.runs.clock import Clock
from rgo_bench.streams.options import Count, Positive


@dataclass(frozen=True, kw_only=True)
class DENOptions(MethodOptions):
    """The options of `DEN`, as the authors' program for permuted MNIST sets them."""

    step_size: Positive = 0.001  # Adam's
    sparsity: Positive = 1e-5  # what every weight shrinks by at a step
    decay: Positive = 1e-4  # of |w|^2 / 2
    group: Positive = 1e-3  # what every new unit's weights shrink by, as one vector
    drift: Positive = 0.5  # of |w - w_before|^2 / 2
    units: Count = 10  # k: a layer gains at most so many, twice
    loss: Positive = 0.01  # tau: units are added unless it comes below
    split: Positive = 0.05  # sigma: units that moved further are split


class DEN(GrowingMethod):
    """Dynamically Expandable Networks (Yoon, Yang, Lee and Hwang, ICLR 2018).

    The first task learns sparse weights. A later one

    1. learns a sparse head alone, and retrains the units that it reaches (selective
       retraining),
    2. adds `units` to each layer if the loss stays above `loss`, trains them with a
       group sparsity, and drops those whose weights vanish (dynamic expansion),
    3. then splits the units that moved most from where they were, if further than
       `split`: the old one goes back, its copy stays, and all is trained again (split
       and duplication).

    A task is predicted with the units that were there at its time (timestamped
    inference): new units do not change it, but old ones drift as far as the penalty
    ``drift |w - w_before|^2 / 2`` lets them, so that earlier tasks do forget.

    Each phase takes as many steps as the stream gives a task, the head alone a tenth of
    them: learning a task costs up to three times what it costs others. The first
    task's are the stream's own steps, the phases follow when a task ends. Steps are
    Adam's, whose learning rate stays where theirs falls by 5 percent an epoch. Where
    more than `units` have drifted the furthest are split; theirs splits the nearest.

    References
    ----------
    Yoon, Yang, Lee and Hwang, "Lifelong Learning with Dynamically Expandable Networks",
    ICLR 2018, equations 2 to 7, algorithms 1 to 4.
    """

    options: DENOptions

    def __init__(self, setting: Setting, options: DENOptions) -> None:
        super().__init__(setting, options)
        self.network = GrowingNetwork(setting)
        self.steps = 0  # of the current task
        self.before: dict[str, Tensor] = {}  # weights that earlier tasks left

    def begin_task(self, task: int) -> None:
        """Draw the task's head."""
        super().begin_task(task)
        self.network.add_head(task)
        self.steps = 0
        parameters = self.network.parameters(task)
        lr = self.options.step_size
        self.optimizer = torch.optim.Adam(parameters, lr=lr, fused=True)

    def step(self, x: Tensor, y: Tensor) -> None:
        """Train the first task; of later ones count how many steps a phase has."""
        self.steps += 1
        if not self.current:
            self.optimizer.zero_grad()
            nn.functional.cross_entropy(self.network.logits(x, 0), y).backward()
            self._pull()
            self.optimizer.step()
            every = [(p, None) for p in self.network.parameters(0)]
            shrink(every, self.options.sparsity)

    def end_task(self, x: Tensor, y: Tensor, clock: Clock) -> None:
        """Retrain, expand, split."""
        if not self.current:
            return
        with clock.phase("train"):
            network, options = self.network, self.options
            self.before = _copied(network)
            widths = network.widths
            self._train(x, y, self._head(), steps=max(1, self.steps // 10))
            loss = self._train(x, y, [*reached(network, self.current), *self._head()])
            if not loss < options.loss:
                network.grow([options.units] * len(network.names))
                network.widen_head(self.current)
                self._train(
                    *(x, y),
                    [*network.added_since(widths), *self._head()],
                    after=partial(shrink_groups, network, widths, options.group),
                )
                drop_empty(network, widths, self.current)
                split_drifted(
                    *(network, self.before),
                    threshold=options.split,
                    most=options.units,
                    task=self.current,
                )
                every = [(p, None) for p in network.parameters(self.current)]
                self._train(x, y, every)
            self.before = {}

    def _head(self) -> Free:
        return [(p, None) for p in self.network.heads.heads[self.current]]

    def _train(
        self,
        x: Tensor,
        y: Tensor,
        free: Free,
        *,
        steps: int | None = None,
        after: Callable[[], None] = lambda: None,
    ) -> float:
        # In the weights' type, as every step multiplies by them.
        free = [(p, None if mask is None else mask.to(p.dtype)) for p, mask in free]

        def shrink_all() -> None:
            shrink(free, self.options.sparsity)
            after()

        network = self.network
        batches = mini_batches(
            *(x, y),
            size=self.setting.batch,
            steps=self.steps if steps is None else steps,
            generator=network.generator,
        )
        return train(
            *(partial(network.logits, task=self.current), batches, free),
            lr=self.options.step_size,
            pull=self._pull,
            after=shrink_all,
        )

    @torch.no_grad()
    def _pull(self) -> None:
        """Add the gradients of the decay and of the drift."""
        options, network = self.options, self.network
        network.decay(self.current, options.decay)
        for name, old in self.before.items():
            weight = network.weights.get(name)  # biases drift freely
            if weight is not None and weight.grad is not None:
                part = slice(len(old)), slice(old.shape[1])
                weight.grad[part].add_(weight[part] - old, alpha=options.drift)


def _copied(network: GrowingNetwork) -> dict[str, Tensor]:
    weights = {name: w.detach().clone() for name, w in network.weights.items()}
    biases = {f"{n}.bias": b.detach().clone() for n, b in network.biases.items()}
    return weights | biases
