"""An optimizer that wraps another."""

import torch
from torch.optim import Optimizer


class Outer(Optimizer):
    """Steps the optimizer inside, and goes back half the way: a Lookahead."""

    def __init__(self, inner: Optimizer) -> None:
        self.inner = inner
        super().__init__(inner.param_groups, {})
        self.param_groups = inner.param_groups

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        parameters = [p for group in self.param_groups for p in group["params"]]
        slow = [p.clone() for p in parameters]
        self.inner.step()
        for p, before in zip(parameters, slow, strict=True):
            p.lerp_(before, 0.5)
