"""ER with a reservoir, and DER++, which replays the answers given too."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from rgo_bench.methods.method import MethodOptions, NetworkMethod, Setting, masked
from rgo_bench.methods.reservoir import Kept, Reservoir
from rgo_bench.streams.options import Count, Positive


@dataclass(frozen=True, kw_only=True)
class ReservoirOptions(MethodOptions):
    """The options of `ER`."""

    size: Count | None = None  # samples kept; None: as many bytes as RGO's state has
    replay: Count = 10  # samples drawn for a step


@dataclass(frozen=True, kw_only=True)
class DEROptions(ReservoirOptions):
    """The options of `DERPlusPlus`."""

    alpha: Positive = 0.5  # of the squared distance to the logits kept
    beta: Positive = 1.0  # of the cross-entropy of other samples kept


class ER(NetworkMethod):
    """Experience replay from a reservoir (Chaudhry et al., 2019; Riemer et al., 2019).

    A step trains on the mini-batch together with `replay` samples drawn from what was
    kept so far, the current task's included: the mean loss over both. By default the
    memory has as many bytes as RGO's state for the same network.

    References
    ----------
    Chaudhry, Rohrbach, Elhoseiny, Ajanthan, Dokania, Torr and Ranzato, "On Tiny
    Episodic Memories in Continual Learning", 2019, algorithm 2.
    """

    options: ReservoirOptions
    kept = (*NetworkMethod.kept, "memory")
    keeps_logits = False

    def __init__(self, setting: Setting, options: ReservoirOptions) -> None:
        super().__init__(setting, options)
        self.memory = Reservoir(setting, options.size, logits=self.keeps_logits)
        given = [mask for mask in setting.masks if mask is not None]
        self._masks = torch.stack(given) if given else None  # (tasks, classes)

    def step(self, x: Tensor, y: Tensor) -> None:
        """Take an SGD step on old and new samples, then offer the new to the memory."""
        self.optimizer.zero_grad()
        loss, logits = self.replayed_loss(x, y)
        loss.backward()
        self.optimizer.step()
        self.memory.add(x, y, self.current, logits)

    def replayed_loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the loss, and the mini-batch's logits where they are kept."""
        if not len(self.memory):
            return self.loss(x, y), None
        old = self.memory.draw(self.options.replay)
        logits = self.forward(torch.cat([x, old.x]))
        new, again = logits[: len(x)], logits[len(x) :]
        both = torch.cat(
            [masked(new, self.setting.masks[self.current]), self.in_play(again, old)]
        )
        return functional.cross_entropy(both, torch.cat([y, old.y])), None

    def in_play(self, logits: Tensor, old: Kept) -> Tensor:
        """Mask each sample's logits by its own task's classes."""
        return logits if self._masks is None else masked(logits, self._masks[old.task])


class DERPlusPlus(ER):
    """Dark Experience Replay++ (Buzzega et al., NeurIPS 2020).

    The loss of a step is ``CE(x, y) + alpha |h(x') - z'|^2 / classes + beta CE(x'',
    y'')``: x' and x'' are drawn apart from each other, z' are the logits that the
    network gave when x' was kept. The paper's squared distance is the mean over the
    logits, as its authors' programs take it. The weights are those that they list for
    permuted MNIST with their largest memory, of 5120 samples; ours holds more.

    References
    ----------
    Buzzega, Boschini, Porrello, Abati and Calderara, "Dark Experience for General
    Continual Learning: a Strong, Simple Baseline", NeurIPS 2020, equation 6.
    """

    options: DEROptions
    keeps_logits = True

    def replayed_loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the loss, and the mini-batch's logits to keep."""
        new = self.forward(x)
        mask = self.setting.masks[self.current]
        loss = functional.cross_entropy(masked(new, mask), y)
        if len(self.memory):
            first, second = (self.memory.draw(self.options.replay) for _ in range(2))
            again = self.forward(torch.cat([first.x, second.x]))
            dark, plain = again[: len(first.y)], again[len(first.y) :]
            assert first.logits is not None  # kept with every sample
            apart = functional.mse_loss(dark, first.logits)
            old = functional.cross_entropy(self.in_play(plain, second), second.y)
            loss = loss + self.options.alpha * apart + self.options.beta * old
        return loss, new.detach()
