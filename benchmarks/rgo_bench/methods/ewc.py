"""EWC: weights that mattered to earlier tasks are held by springs."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rgo_bench.clock import Clock
from rgo_bench.methods.method import MethodOptions, NetworkMethod, Setting
from rgo_bench.streams.options import Count, Part, Positive

# Keeps the normalisation finite where all Fisher entries are the same.
TINY = 1e-32


@dataclass(frozen=True, kw_only=True)
class EWCOptions(MethodOptions):
    """The options of `EWC`."""

    strength: Positive = 10.0  # of the penalty
    window: Count = 10  # steps over which squared gradients are averaged
    decay: Part = 0.9  # weight of the newest window in the running Fisher


class EWC(NetworkMethod):
    """Elastic Weight Consolidation (Kirkpatrick et al., PNAS 2017), online.

    After the first task the loss has the penalty ``strength * sum F (w - w*)^2``, w*
    the weights after the last task and F the diagonal of the Fisher information.

    As in the setting of Chaudhry et al. (2020), which follows their RWalk (2018), and
    unlike the paper: one penalty for all earlier tasks, not one each; no factor 1/2; F
    from squared gradients of mini-batches met in training, not of single samples with
    labels drawn from the model; F averaged over windows of steps, ``F <- (1 - decay) F
    + decay * mean g^2``, and scaled to [0, 1] over all parameters together. A window
    that a task does not fill is dropped.

    References
    ----------
    Kirkpatrick, Pascanu, Rabinowitz, Veness et al., "Overcoming Catastrophic
    Forgetting in Neural Networks", PNAS 2017.
    Chaudhry, Dokania, Ajanthan and Torr, "Riemannian Walk for Incremental Learning",
    ECCV 2018, equation 9.
    """

    options: EWCOptions
    kept = (*NetworkMethod.kept, "running", "anchor")

    def __init__(self, setting: Setting, options: EWCOptions) -> None:
        super().__init__(setting, options)
        self._parameters = dict(self.network.named_parameters())
        self._window = self._zeros()  # the sum of g^2 since the window began
        self._steps = 0  # in the window
        self.running = self._zeros()  # F as it is averaged
        self.fisher = self._zeros()  # F of the penalty, in [0, 1]
        self.anchor = self._zeros()  # w*

    def step(self, x: Tensor, y: Tensor) -> None:
        """Take one SGD step on the loss with its penalty."""
        self.optimizer.zero_grad()
        self.loss(x, y).backward()
        self._observe()
        self._add_penalty()
        self.optimizer.step()

    def end_task(self, x: Tensor, y: Tensor, clock: Clock) -> None:
        """Hold the weights where they are, as firmly as the Fisher tells."""
        with clock.phase("consolidate"):
            self._window, self._steps = self._zeros(), 0
            self.fisher = normalized(self.running)
            own = self._parameters.items()
            self.anchor = {name: p.detach().clone() for name, p in own}

    def restored(self) -> None:
        """Make the penalty's Fisher of the running one."""
        self.fisher = normalized(self.running)

    def _zeros(self) -> dict[str, Tensor]:
        own = self._parameters.items()
        return {name: torch.zeros_like(p, requires_grad=False) for name, p in own}

    @torch.no_grad()
    def _observe(self) -> None:
        for name, parameter in self._parameters.items():
            gradient = _gradient(parameter)
            self._window[name].addcmul_(gradient, gradient)
        self._steps += 1
        if self._steps < self.options.window:
            return
        decay = self.options.decay
        for name, running in self.running.items():
            running.mul_(1 - decay).add_(
                self._window[name], alpha=decay / self.options.window
            )
            self._window[name].zero_()
        self._steps = 0

    @torch.no_grad()
    def _add_penalty(self) -> None:
        for name, parameter in self._parameters.items():
            _gradient(parameter).addcmul_(
                self.fisher[name],
                parameter - self.anchor[name],
                value=2 * self.options.strength,
            )


def normalized(fisher: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Scale a diagonal to [0, 1], by its extremes over all parameters."""
    low = torch.stack([f.min() for f in fisher.values()]).min()
    high = torch.stack([f.max() for f in fisher.values()]).max()
    return {name: (f - low) / (high - low + TINY) for name, f in fisher.items()}


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None  # the loss depends on every parameter
    return parameter.grad
