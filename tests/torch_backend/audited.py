"""Models whose layers' calls tell less than they do, and what is right of them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch_backend.nets import CLASSES, FEATURES

LENGTH = 6
MENDED = "does not tell their gradient.*: observed by calling the whole model again"


class Codes(nn.Module):
    """Multiplies by one matrix in its forward and, transposed, in another method."""

    def __init__(self) -> None:
        super().__init__()
        self.codes = nn.Parameter(0.3 * torch.randn(FEATURES, FEATURES))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.codes)

    def back(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.codes.T)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.own, self.head = Codes(), nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.own.back(self.own(x)))


def made(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make().double()


def sequences(count: int, size: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(5)
    shape = (size, LENGTH, 3)
    return [
        (
            torch.randn(shape, generator=generator, dtype=torch.float64),
            torch.randint(CLASSES, (size,), generator=generator),
        )
        for _ in range(count)
    ]


def by_hand(model: nn.Module, data: Any, name: str, outputs: int) -> np.ndarray:
    """Return the sum of G G^T / m over the samples, from each sample by itself."""
    weights = {own: p.detach() for own, p in model.named_parameters()}

    def score(weight: Tensor, x: Tensor, y: Tensor) -> Tensor:
        logits = functional_call(model, weights | {name: weight}, (x[None],))[0]
        p = logits.detach().softmax(-1)[y]
        return logits[y] * (p * (1 - p)).sqrt()

    total: Any = 0
    for x, y in data:
        for sample in zip(x, y, strict=True):
            gradient = grad(score)(weights[name], *sample)
            rows = gradient.reshape(-1, gradient.shape[-1])
            rows = rows if outputs == 0 else rows.T
            total = total + rows.T @ rows / len(rows)
    return total.numpy()
