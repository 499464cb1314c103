"""DEN: retrain what a task needs, add units where that fails, split what drifted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from rgo_bench.clock import Clock
from rgo_bench.methods.addition import Addition
from rgo_bench.methods.growing import GrowingNetwork
from rgo_bench.methods.passes import PassesMethod, PassesOptions
from rgo_bench.methods.reach import Reach
from rgo_bench.methods.shrinking import Drifting, pull_back, shrink, shrink_groups
from rgo_bench.streams.options import Count, Positive


@dataclass(frozen=True, kw_only=True)
class DENOptions(PassesOptions):
    """The options of `DEN`, as the authors' program for permuted MNIST sets them."""

    sparsity: Positive = 1e-5  # what every weight shrinks by at a step
    group: Positive = 1e-3  # what every new unit's weights shrink by, as one vector
    drift: Positive = 0.5  # of |w - w_before|^2 / 2
    units: Count = 10  # k: a layer gains at most so many, twice
    loss: Positive = 0.01  # tau: units are added unless it comes below
    split: Positive = 0.05  # sigma: units that moved further are split


class DEN(PassesMethod):
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

    def step(self, x: Tensor, y: Tensor) -> None:
        """Train the first task, with sparse weights; count the steps of later ones."""
        super().step(x, y)
        if not self.current:
            shrink(self.network.parameters(0), self.options.sparsity)

    def end_task(self, x: Tensor, y: Tensor, clock: Clock) -> None:
        """Retrain, expand, split."""
        if not self.current:
            return
        with clock.phase("train"):
            network, before = self.network, self.network.copied()
            self._train_added(x, y, network.widths, steps=max(1, self.steps // 10))
            if not self._retrain(x, y, before) < self.options.loss:
                widths = network.widths
                network.grow([self.options.units] * len(widths))
                network.widen_head(self.current)
                self._train_added(x, y, widths)
                drop_empty(network, widths, self.current)
                split_drifted(
                    *(network, before),
                    threshold=self.options.split,
                    most=self.options.units,
                    task=self.current,
                )
                self._train(
                    *(partial(network.logits, task=self.current), (x, y)),
                    network.parameters(self.current),
                    drifting=[(w, before[name]) for name, w in network.weights.items()],
                )

    def _train_added(
        self, x: Tensor, y: Tensor, widths: Sequence[int], *, steps: int | None = None
    ) -> None:
        """Train the units beyond some widths, if any, and the task's head."""
        new = Addition(self.network, widths, self.current)
        self._train(
            *(new.logits, (*new.fixed(x), y), new.parameters()),
            steps=steps,
            after=partial(shrink_groups, new.rows.values(), self.options.group),
        )
        new.write()

    def _retrain(self, x: Tensor, y: Tensor, before: Mapping[str, Tensor]) -> float:
        """Train what the head depends on, and return the loss that it comes to."""
        reach = Reach(self.network, self.current)
        if not all(map(len, reach.units)):
            return float("inf")
        loss = self._train(
            *(reach.logits, (x, y), reach.parameters()),
            drifting=[
                (weight, reach.of_layer(name, before[name]))
                for name, weight in reach.weights.items()
            ],
        )
        reach.write()
        return loss

    def _train(
        self,
        logits: Callable[..., Tensor],
        samples: Sequence[Tensor],
        parameters: Sequence[nn.Parameter],
        *,
        drifting: Drifting = (),
        steps: int | None = None,
        after: Callable[[], None] = lambda: None,
    ) -> float:
        def shrink_all() -> None:
            shrink(parameters, self.options.sparsity)
            after()

        return self.go_through(
            *(logits, samples, parameters),
            generator=self.network.generator,
            steps=steps,
            pull=partial(pull_back, drifting, self.options.drift),
            after=shrink_all,
        )


@torch.no_grad()
def drop_empty(network: GrowingNetwork, widths: Sequence[int], task: int) -> None:
    """Drop units newer than `widths` that nothing feeds."""
    for place, (name, units) in enumerate(zip(network.names, widths, strict=True)):
        kept = network.weights[name].flatten(1).any(1)
        kept[:units] = True
        network.take(place, torch.nonzero(kept)[:, 0], task)
    network.stamp(task)


@torch.no_grad()
def split_drifted(
    network: GrowingNetwork,
    before: Mapping[str, Tensor],
    *,
    threshold: float,
    most: int,
    task: int,
) -> None:
    """Put units back that moved further than a threshold, and keep copies as they are.

    What a copy feeds is fed as by the unit now, what the unit fed is fed as before; the
    current task's head sees the copy in the unit's place. `before` has weights by layer
    and biases by layer and ``.bias``; of each layer at most `most` units are put back,
    those that moved furthest.
    """
    split = [_drifted(network, before, n, threshold, most) for n in network.names]
    for place, (name, units) in enumerate(zip(network.names, split, strict=True)):
        old = before[name]
        if place:
            columns = network.columns_of(place - 1, split[place - 1])
            network.weights[name][: len(old), columns] = old[:, columns]
        every = torch.arange(len(network.weights[name]), device=units.device)
        network.take(place, torch.cat([every, units]), task)
        network.weights[name][units, : old.shape[1]] = old[units]
        if name in network.biases:
            network.biases[name][units] = before[f"{name}.bias"][units]
    head, _ = network.heads.heads[task]
    head[:, network.columns_of(len(split) - 1, split[-1])] = 0
    network.stamp(task)


def _drifted(
    network: GrowingNetwork,
    before: Mapping[str, Tensor],
    name: str,
    threshold: float,
    most: int,
) -> Tensor:
    old = before[name]
    moved = network.weights[name][: len(old), : old.shape[1]] - old
    distance = moved.flatten(1).norm(dim=1)
    furthest = distance.argsort(descending=True)[:most]
    chosen: Tensor = furthest[distance[furthest] > threshold].sort().values
    return chosen
