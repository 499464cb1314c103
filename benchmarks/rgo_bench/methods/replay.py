"""Methods that replay from a memory: ER-Ring, A-GEM, ER and DER++."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from rgo_bench.clock import Clock
from rgo_bench.methods.method import MethodOptions, NetworkMethod, Setting, masked
from rgo_bench.methods.replay_memory import Memory, Reservoir, RingMemory
from rgo_bench.streams.options import Count, Positive


@dataclass(frozen=True, kw_only=True)
class ReplayOptions(MethodOptions):
    """The options of methods with a ring memory."""

    per_class: Count = 1  # samples kept of each class of a task
    replay: Count = 10  # samples drawn from the memory for a step


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


class ReplayMethod(NetworkMethod):
    """A method that replays samples from a memory beside each mini-batch."""

    options: ReplayOptions | ReservoirOptions
    memory: Memory
    kept = (*NetworkMethod.kept, "memory")

    def joint_loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the mean cross-entropy over mini-batch and replayed samples."""
        if not len(self.memory):
            return super().loss(x, y)
        old = self.memory.draw(self.options.replay)
        logits = self.forward(torch.cat([x, old.x]))
        new = masked(logits[: len(x)], self.setting.masks[self.current])
        both = torch.cat([new, masked(logits[len(x) :], old.mask)])
        return functional.cross_entropy(both, torch.cat([y, old.y]))


class RingMethod(ReplayMethod):
    """A method that keeps a ring memory of the tasks learned."""

    options: ReplayOptions
    memory: RingMemory

    def __init__(self, setting: Setting, options: ReplayOptions) -> None:
        super().__init__(setting, options)
        self.memory = RingMemory(setting, options.per_class)

    def end_task(self, x: Tensor, y: Tensor, clock: Clock) -> None:
        """Keep some of the task's samples."""
        with clock.phase("consolidate"):
            self.memory.add(self.current, x, y)


class ERRing(RingMethod):
    """Experience replay with a ring memory (Chaudhry et al., 2019).

    A step trains on the mini-batch together with as many replayed samples: the mean
    loss over both. The memory holds earlier tasks only, as in the setting of Chaudhry
    et al. (2020).

    References
    ----------
    Chaudhry, Rohrbach, Elhoseiny, Ajanthan, Dokania, Torr and Ranzato, "On Tiny
    Episodic Memories in Continual Learning", 2019.
    """

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the joint loss of the mini-batch and earlier tasks' samples."""
        return self.joint_loss(x, y)


class AGEM(RingMethod):
    """Averaged Gradient Episodic Memory (Chaudhry et al., ICLR 2019).

    A gradient g that would raise the loss on samples drawn from the memory, whose
    gradient is r, loses its part along r: ``g - (g . r) / (r . r) r`` where ``g . r <
    0``. The memory holds one sample per class and task, and the reference batch is 10,
    as in Chaudhry et al. (2020); the paper has 256.

    References
    ----------
    Chaudhry, Ranzato, Rohrbach and Elhoseiny, "Efficient Lifelong Learning with
    A-GEM", ICLR 2019, equation 11.
    """

    def step(self, x: Tensor, y: Tensor) -> None:
        """Take one SGD step along the gradient, projected where it conflicts."""
        if not len(self.memory):
            super().step(x, y)
            return
        parameters = list(self.network.parameters())
        reference = torch.autograd.grad(self._replay_loss(), parameters)
        gradient = torch.autograd.grad(self.loss(x, y), parameters)
        resolved = without_conflict(gradient, reference)
        for parameter, new in zip(parameters, resolved, strict=True):
            parameter.grad = new
        self.optimizer.step()

    def _replay_loss(self) -> Tensor:
        replay = self.memory.draw(self.options.replay)
        logits = masked(self.forward(replay.x), replay.mask)
        return functional.cross_entropy(logits, replay.y)


class ER(ReplayMethod):
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
    memory: Reservoir

    def __init__(self, setting: Setting, options: ReservoirOptions) -> None:
        super().__init__(setting, options)
        self.memory = Reservoir(setting, options.size)

    def step(self, x: Tensor, y: Tensor) -> None:
        """Take an SGD step on old and new samples, then offer the new to the memory."""
        super().step(x, y)
        self.memory.add(x, y, self.current, None)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the joint loss of the mini-batch and samples of all tasks so far."""
        return self.joint_loss(x, y)


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

    def step(self, x: Tensor, y: Tensor) -> None:
        """Take an SGD step, then offer the samples with their logits to the memory."""
        self.optimizer.zero_grad()
        new = self.forward(x)
        mask = self.setting.masks[self.current]
        loss = functional.cross_entropy(masked(new, mask), y)
        if len(self.memory):
            first, second = (self.memory.draw(self.options.replay) for _ in range(2))
            again = self.forward(torch.cat([first.x, second.x]))
            dark, plain = again[: len(first.y)], again[len(first.y) :]
            assert first.logits is not None  # kept with every sample
            apart = functional.mse_loss(dark, first.logits)
            old = functional.cross_entropy(masked(plain, second.mask), second.y)
            loss = loss + self.options.alpha * apart + self.options.beta * old
        loss.backward()
        self.optimizer.step()
        self.memory.add(x, y, self.current, new.detach())


def without_conflict(
    gradient: Sequence[Tensor], reference: Sequence[Tensor]
) -> list[Tensor]:
    """Take from a gradient what points against a reference, both one vector in pieces.

    It stays, bit for bit, where their product is not negative. Whether they conflict is
    decided on the device: no step waits for it.
    """
    product = _dot(gradient, reference).clamp(max=0)
    square = _dot(reference, reference)
    # Where the reference vanishes so does the product: 0 by anything is 0.
    scale = product / square.clamp(min=torch.finfo(square.dtype).tiny)
    return [g - scale * r for g, r in zip(gradient, reference, strict=True)]


def _dot(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    products = [torch.sum(a * b) for a, b in zip(first, second, strict=True)]
    return torch.stack(products).sum()
