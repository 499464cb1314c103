"""One layer in a model, and what its vectors must be."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from array_api_compat import torch as xp
from torch import Tensor, nn
from torch_backend.tolerance import assert_near

import rgo_core
from rgo_torch import find_layout, second_moments

B = 3


class Case(nn.Module):
    """A module, what it is called with, and what of its outputs counts."""

    def __init__(
        self,
        module: nn.Module,
        inputs: Any,
        call: Callable[[nn.Module, Any], Tensor] = lambda module, x: module(x),
    ) -> None:
        super().__init__()
        self.module = module.double().eval()
        self.inputs, self.call = inputs, call

    def forward(self, x: Any) -> Tensor:
        return self.call(self.module, x)


def score(model: nn.Module, batch: Any) -> Tensor:
    """Weigh every output of a sample by a number of its own: (b,)."""
    outputs = model(batch).flatten(1)
    generator = torch.Generator().manual_seed(outputs.shape[1])
    weights = torch.randn(outputs.shape[1], generator=generator, dtype=torch.float64)
    return (torch.sin(outputs) * weights).sum(-1)


def by_sample(case: Case) -> Iterator[dict[str, Tensor]]:
    """Yield the gradients of one sample after another, by a loop."""
    parameters = dict(case.named_parameters())
    for i in range(B):
        total = score(case, case.inputs)[i]
        found = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
        yield {
            name: torch.zeros_like(p) if gradient is None else gradient
            for (name, p), gradient in zip(parameters.items(), found, strict=True)
        }


def mean_of_outputs(rows: Tensor) -> Tensor:
    """Return the mean of rows, a contrast before a normalisation, where it cancels."""
    if rows.mean(-2).norm() > 1e-9 * rows.norm():
        return rows.mean(-2)
    weights = torch.from_numpy(rgo_core.output_contrast(rows.shape[-2]))
    return (weights[:, None] * rows).mean(-2)


def expected_moments(case: Case, reduce: str) -> dict[str, Tensor]:
    """Sum g g^T over the samples, or the mean of squares over outputs for diagonals."""
    layout = find_layout(case).layers
    axes = {x.full_name(own): each for x in layout for own, each in x.axes.items()}
    totals: dict[str, Any] = {}
    for gradients in by_sample(case):
        for name, gradient in gradients.items():
            rows = rgo_core.to_rows(gradient, axes[name], leading=0, xp=xp)
            if axes[name].diagonal:
                moment = (rows * rows).mean(-2)
            elif reduce == "mean":
                g = mean_of_outputs(rows)
                moment = g[..., :, None] * g[..., None, :]
            else:
                moment = rows.mT @ rows / rows.shape[-2]
            totals[name] = totals.get(name, 0) + moment
    return totals


def assert_observed(case: Case, reduce: str = "mean") -> None:
    expected = expected_moments(case, reduce)
    scales = expected_moments(case, "rms")
    found = second_moments(case, [case.inputs], reduce=reduce, score=score)
    assert set(found) == set(expected)
    for name, moment in found.items():
        scale = float(scales[name].norm())
        assert_near(moment[0], expected[name], amplification=64, scale=scale)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


ids = torch.tensor([[0, 2, 2, 5], [1, 1, 1, 4], [3, 0, 5, 0]])
