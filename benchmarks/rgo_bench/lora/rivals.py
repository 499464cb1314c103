"""What else is done against forgetting in adapters, and without adapters."""

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from rgo_bench.lora.methods import Method
from rgo_bench.lora.registry import Entry
from rgo_bench.zoo.streams import Samples, join

ORTHOGONALITY: Final = 0.5  # lambda_1 of O-LoRA's own runs
STIFFNESS: Final = 1.0  # of EWC; of 1, 10, 100 and 1000 the best on made-up topics
FISHER_SAMPLES: Final = 64
# The state of RGO on MiniLM: what replay may keep.
REPLAY_BYTES: Final = 23_012_752


class Full(Method):
    """The whole model is trained, at a tenth of the adapters' rate."""

    @property
    def lr(self) -> float:
        """A tenth of the adapters' learning rate."""
        return self.entry.lr / 10

    def build(self) -> nn.Module:
        """Return the model without an adapter, thawed."""
        return self.entry.build().requires_grad_(True)


class Orthogonal(Method):
    """O-LoRA: each task's adapter is new and orthogonal to those before.

    The loss has ``lambda sum (A_i A_t^T)^2`` over the entries more, for every earlier
    adapter i. Those are frozen and stay in the sum, which is the same as to merge them
    into the layer beside. The head is shared, for the task is not asked for in testing.

    Wang et al., "Orthogonal Subspace Learning for Language Model Continual Learning",
    Findings of EMNLP 2023, equations 7 and 8.
    """

    def __init__(self, entry: Entry, seed: int, options: Mapping[str, Any]) -> None:
        super().__init__(entry, seed, options)
        self._layers: list[Any] = [
            module for module in self.model.modules() if hasattr(module, "lora_A")
        ]
        # A layer's earlier A, one below the other.
        self._earlier: list[list[Tensor]] = [[] for _ in self._layers]

    def begin_task(self, task: int) -> None:
        """Freeze the adapter, and begin with a new one."""
        if not task:
            return
        for layer, earlier in zip(self._layers, self._earlier, strict=True):
            earlier.append(layer.lora_A["default"].weight.detach().clone())
            with torch.no_grad():
                layer.base_layer.weight += layer.get_delta_weight("default")
            layer.reset_lora_parameters("default", init_lora_weights=True)
        self.optimizer = self.make_optimizer()

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the cross-entropy and the penalty."""
        value = super().loss(x, y)
        if self._earlier[0]:
            for layer, earlier in zip(self._layers, self._earlier, strict=True):
                product = torch.cat(earlier) @ layer.lora_A["default"].weight.mT
                value = value + ORTHOGONALITY * product.square().sum()
        return value

    def facts(self) -> dict[str, Any]:
        """Return the bytes of the earlier adapters."""
        return {"state_bytes": sum(a.nbytes for e in self._earlier for a in e)}


class Elastic(Method):
    """EWC on what is trained: ``lambda sum F (w - w*)^2`` is added to the loss.

    F is the sum over tasks of the mean squared gradient of a sample's loss, each
    task's divided by its largest entry.

    Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", 2017.
    """

    def __init__(self, entry: Entry, seed: int, options: Mapping[str, Any]) -> None:
        super().__init__(entry, seed, options)
        self._trained = [p for p in self.model.parameters() if p.requires_grad]
        self._fisher = [torch.zeros_like(p) for p in self._trained]
        self._kept: list[Tensor] = []

    def end_task(self, samples: Samples) -> None:
        """Add the Fisher information of some samples, spread over all."""
        found = [torch.zeros_like(p) for p in self._trained]
        some = samples.spread(FISHER_SAMPLES)
        for x, y in zip(some.x.split(1), some.y.split(1), strict=True):
            value = super().loss(x, y)
            gradients = torch.autograd.grad(value, self._trained)
            for total, gradient in zip(found, gradients, strict=True):
                total += gradient.square()
        largest = max(float(total.max()) for total in found)
        sums = zip(self._fisher, found, strict=True)
        self._fisher = [old + total / max(largest, 1e-30) for old, total in sums]
        self._kept = [p.detach().clone() for p in self._trained]

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the cross-entropy and the penalty."""
        value = super().loss(x, y)
        pairs = zip(self._trained, self._kept, self._fisher, strict=True)
        if self._kept:
            moved = (((w - kept).square() * f).sum() for w, kept, f in pairs)
            value = value + STIFFNESS * torch.stack(list(moved)).sum()
        return value

    def facts(self) -> dict[str, Any]:
        """Return the bytes of Fisher information and weights."""
        return {"state_bytes": sum(t.nbytes for t in (*self._fisher, *self._kept))}


class Replay(Method):
    """ER: a step sees as many samples of earlier tasks as of its own.

    As many are kept as fit into the bytes of RGO's state: of text, all of them.

    Chaudhry et al., "On Tiny Episodic Memories in Continual Learning", 2019.
    """

    def __init__(self, entry: Entry, seed: int, options: Mapping[str, Any]) -> None:
        super().__init__(entry, seed, options)
        self._generator = torch.Generator().manual_seed(seed)
        self._memory: Samples | None = None

    def end_task(self, samples: Samples) -> None:
        """Keep the samples, or an even choice of all where they are too many."""
        if self._memory is not None:
            samples = join([self._memory, samples])
        each = samples.x[0].nbytes + samples.y[0].nbytes
        most = min(REPLAY_BYTES // each, len(samples.x))
        order = torch.randperm(len(samples.x), generator=self._generator)[:most]
        self._memory = samples.at(order)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the mean cross-entropy of new and old samples."""
        if self._memory is not None:
            size = (len(x),)
            of = len(self._memory.x)
            chosen = torch.randint(of, size, generator=self._generator)
            x, y = join([Samples(x, y), self._memory.at(chosen)])
        return super().loss(x, y)

    def facts(self) -> dict[str, Any]:
        """Return the bytes of the samples kept."""
        kept = self._memory or ()
        return {"state_bytes": sum(part.nbytes for part in kept)}
