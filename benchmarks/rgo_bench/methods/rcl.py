"""RCL: a controller learns, task by task, how many units to add."""

import copy
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from rgo_bench.methods.growing import GrowingMethod, GrowingNetwork
from rgo_bench.methods.method import MethodOptions, Setting
from rgo_bench.methods.passes import mini_batches, percent_right, train
from rgo_bench.methods.rcl_controller import Controller
from rgo_bench.runs.clock import Clock
from rgo_bench.streams.options import Count, Part, Positive


@dataclass(frozen=True, kw_only=True)
class RCLOptions(MethodOptions):
    """The options of `RCL`, as the authors' program for permuted MNIST sets them."""

    trials: Count = 50  # networks that are trained for a task
    most: Count = 30  # a layer gains less units than that with a task
    cost: Positive = 1e-4  # of a unit, in the reward
    step_size: Positive = 0.001  # Adam's, of networks and of the controller
    decay: Positive = 1e-4  # of |w|^2 / 2
    validation: Part = 0.1  # part of a task's samples that tells the reward


class RCL(GrowingMethod):
    """Reinforced Continual Learning (Xu and Zhu, NeurIPS 2018).

    For every task but the first a controller, an LSTM, draws how many units each layer
    gains; what is new is trained, with a head over all, and what was there stays: no
    task forgets. The reward of a draw is the accuracy on samples held back less `cost`
    for each new unit, and teaches the controller by its policy gradient, with a critic
    as the baseline. The best network of all trials is kept.

    A trial takes as many steps as the stream gives a task: learning a task costs
    `trials` times what it costs others. The stream's own steps are taken in the first
    task alone; the trials follow when a task ends. Steps are Adam's, and do not use
    the stream's learning rate.

    References
    ----------
    Xu and Zhu, "Reinforced Continual Learning", NeurIPS 2018, equations 1 to 5,
    algorithm 1.
    """

    options: RCLOptions
    keeps_tasks: ClassVar[bool] = True

    def __init__(self, setting: Setting, options: RCLOptions) -> None:
        super().__init__(setting, options)
        self.network = GrowingNetwork(setting)
        self.steps = 0  # of the current task

    def begin_task(self, task: int) -> None:
        """Draw the task's head."""
        super().begin_task(task)
        self.network.add_head(task)
        self.steps = 0
        if not task:
            parameters, lr = self.network.parameters(task), self.options.step_size
            self.optimizer = torch.optim.Adam(parameters, lr=lr, fused=True)

    def step(self, x: Tensor, y: Tensor) -> None:
        """Train the first task; of later ones count how many steps a trial has."""
        self.steps += 1
        if self.current:
            return
        self.optimizer.zero_grad()
        functional.cross_entropy(self.network.logits(x, 0), y).backward()
        self.network.decay(0, self.options.decay)
        self.optimizer.step()

    def end_task(self, x: Tensor, y: Tensor, clock: Clock) -> None:
        """Try networks as the controller draws them, and keep the best."""
        if not self.current:
            return
        with clock.phase("train"):
            held = max(1, round(self.options.validation * len(x)))
            if held >= len(x):
                raise ValueError(
                    f"option 'validation': expected to leave some of {len(x)} samples "
                    f"to train on, got {self.options.validation}"
                )
            seed = self.setting.seed * 10_007 + self.current
            controller = Controller(
                len(self.network.names),
                self.options.most,
                lr=self.options.step_size,
                seed=seed,
            )
            start, best = self.network, None
            for _ in range(self.options.trials):
                draw = controller.draw()
                network = self._grown(start, draw, x[held:], y[held:])
                shown = partial(network.logits, task=self.current)
                right = percent_right(shown, x[:held], y[:held]) / 100
                gained = reward(right, draw, self.options.cost)
                controller.learn(gained)
                if best is None or gained > best:
                    best, self.network = gained, network
                # Each trial draws and shuffles afresh.
                start.generator.set_state(network.generator.get_state())

    def _grown(
        self, start: GrowingNetwork, draw: list[int], x: Tensor, y: Tensor
    ) -> GrowingNetwork:
        """Return the network with units added, and what is new trained."""
        network, task = copy.deepcopy(start), self.current
        before = network.widths
        network.grow(draw)
        network.add_head(task)
        head = [(parameter, None) for parameter in network.heads.heads[task]]
        batches = mini_batches(
            *(x, y),
            size=self.setting.batch,
            steps=self.steps,
            generator=network.generator,
        )
        train(
            partial(network.logits, task=task),
            batches,
            [*network.added_since(before), *head],
            lr=self.options.step_size,
            pull=partial(network.decay, task, self.options.decay),
        )
        return network


def reward(right: float, draw: list[int], cost: float) -> float:
    """Return the accuracy, from 0 to 1, less the cost of the units drawn.

    Examples
    --------
    >>> reward(0.75, [10, 20], 0.01)
    0.45
    """
    return right - cost * sum(draw)
