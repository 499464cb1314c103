"""A-GEM: gradients that do not conflict with those of a memory."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from rgo_bench.methods.method import masked
from rgo_bench.methods.ring_memory import ReplayMethod


class AGEM(ReplayMethod):
    """Averaged Gradient Episodic Memory (Chaudhry et al., ICLR 2019).

    A gradient g that would raise the loss on samples drawn from the memory, whose
    gradient is r, loses its part along r: ``g - (g . r) / (r . r) r`` where ``g . r <
    0``. The memory holds one sample per class and task, and the reference batch is 10,
    as in Chaudhry et al. (2020); the paper has 256. The memory keeps the last samples
    of each class in the order in which the stream draws them, theirs in the order of
    training.

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


def without_conflict(
    gradient: Sequence[Tensor], reference: Sequence[Tensor]
) -> list[Tensor]:
    """Take from a gradient what points against a reference gradient.

    Parameters
    ----------
    gradient, reference : sequence of Tensor
        Each one vector in pieces, of the same shapes.

    Returns
    -------
    list of Tensor
        `gradient`, bit for bit, where its product with `reference` is not negative.

    Notes
    -----
    Whether they conflict is decided on the device: no step waits for it.
    """
    product = _dot(gradient, reference).clamp(max=0)
    square = _dot(reference, reference)
    # Where the reference vanishes so does the product: 0 by anything is 0.
    scale = product / square.clamp(min=torch.finfo(square.dtype).tiny)
    return [g - scale * r for g, r in zip(gradient, reference, strict=True)]


def _dot(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    products = [torch.sum(a * b) for a, b in zip(first, second, strict=True)]
    return torch.stack(products).sum()
