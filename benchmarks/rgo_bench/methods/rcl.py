"""RCL: a controller learns, task by task, how many units to add."""

import copy
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from rgo_bench.clock import Clock
from rgo_bench.methods.addition import Addition
from rgo_bench.methods.growing import GrowingNetwork
from rgo_bench.methods.passes import (
    PassesMethod,
    PassesOptions,
    percent_right,
)
from rgo_bench.streams.options import Count, Part, Positive

HIDDEN, LAYERS, SPREAD = 100, 2, 0.08  # of the LSTM, as in the authors' program
CRITIC_LR = 0.005


@dataclass(frozen=True, kw_only=True)
class RCLOptions(PassesOptions):
    """The options of `RCL`, as the authors' program for permuted MNIST sets them.

    The step size is the controller's too.
    """

    trials: Count = 50  # networks that are trained for a task
    most: Count = 30  # a layer gains less units than that with a task
    cost: Positive = 1e-4  # of a unit, in the reward
    validation: Part = 0.1  # part of a task's samples that tells the reward


class RCL(PassesMethod):
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
        new = Addition(network, before, task)
        self.go_through(
            *(new.logits, (*new.fixed(x), y), new.parameters()),
            generator=network.generator,
        )
        new.write()
        return network


def reward(right: float, draw: list[int], cost: float) -> float:
    """Return the accuracy, from 0 to 1, less the cost of the units drawn.

    Examples
    --------
    >>> reward(0.75, [10, 20], 0.01)
    0.45
    """
    return right - cost * sum(draw)


class Controller:
    """Draws how many units each layer gains, and learns from the rewards.

    An LSTM reads a fixed random state first, then its own last probabilities; a linear
    map of its output has a logit for each number of units. The critic, linear in the
    state, learns the mean reward; a reward r moves the LSTM along ``(r - critic) grad
    log p(draw)``. A draw has `layers` numbers, each less than `most`.
    """

    def __init__(self, layers: int, most: int, *, lr: float, seed: int) -> None:
        self._layers = layers
        self._generator = torch.Generator().manual_seed(seed)
        self._lstm = nn.LSTM(most, HIDDEN, LAYERS)
        self._output = nn.Linear(HIDDEN, most)
        self._critic = nn.Linear(most, 1)
        policy = [*self._lstm.parameters(), *self._output.parameters()]
        with torch.no_grad():
            for parameter in (*policy, *self._critic.parameters()):
                parameter.uniform_(-SPREAD, SPREAD, generator=self._generator)
        self._state = torch.randn(1, most, generator=self._generator)
        self._policy = torch.optim.Adam(policy, lr=lr)
        self._value = torch.optim.Adam(self._critic.parameters(), lr=CRITIC_LR)
        self._log_probability = torch.zeros(())

    def probabilities(self) -> Tensor:
        """Return those of each number of units, (layers, most)."""
        given, hidden, found = self._state, None, []
        for _ in range(self._layers):
            output, hidden = self._lstm(given, hidden)
            given = self._output(output).softmax(-1)
            found.append(given[0])
        return torch.stack(found)

    def draw(self) -> list[int]:
        """Draw how many units each layer gains."""
        chances = self.probabilities()
        drawn = torch.multinomial(chances.detach(), 1, generator=self._generator)
        self._log_probability = chances.gather(1, drawn).log().sum()
        return [int(number) for number in drawn[:, 0]]

    def learn(self, gained: float) -> None:
        """Learn from the reward of the last draw."""
        expected = self._critic(self._state).squeeze()
        self._value.zero_grad()
        (expected - gained).square().backward()
        self._policy.zero_grad()
        (-self._log_probability * (gained - float(expected.detach()))).backward()
        self._value.step()
        self._policy.step()
