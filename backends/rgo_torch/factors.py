"""A weight gradient's factors X and D, caught during the backward pass.

The gradient of a weight is ``X^T D``. With few rows it is much cheaper to project X
than the gradient (`rgo_core.project_factors`). A forward hook sees X, a hook on the
output sees D. Both belong to the graph of one forward call.

The factors are used only where they are seen to be the whole gradient. A layer that is
called twice has two pairs; a penalty on the weights or a second use of them makes the
gradient differ from ``X^T D``, and the product of both with one vector shows it.
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

import rgo_core
from rgo_torch.layers import Layer, rows_of

# Where factors were not the whole gradient they seldom are at the next step: so many
# forward calls go by before the next attempt.
REST = 100


class Factors(NamedTuple):
    """A layer's inputs X and output gradients D, one row a position."""

    inputs: Tensor  # (r, n), or (g, r, n)
    output_gradients: Tensor  # (r, m), or (g, r, m / g)


class FactorRecorder:
    """Catches the factors of one layer's weight gradient, where they pay.

    Parameters
    ----------
    layer : Layer
    until_taken : bool
        Whether what is caught waits for `take` after its backward pass has ended. One
        who takes during the pass says False: then nothing outlives it, even where it
        does not reach the weight.
    """

    def __init__(self, layer: Layer, *, until_taken: bool = True) -> None:
        self.layer = layer
        self.until_taken = until_taken
        self.active = False
        self._caught: list[tuple[Tensor, Tensor]] = []
        self._rest = 0
        # Before the encoder's hooks: D is the gradient in the output itself.
        self._handle = layer.module.register_forward_hook(self._forward, prepend=True)

    def reset(self, *, active: bool) -> None:
        """Forget what was caught, and record from now on or not."""
        self.active = active
        self._caught = []

    def take(self, gradient: Tensor) -> Factors | None:
        """Return the factors of `gradient`, or None where they are not all of it."""
        caught, self._caught = self._caught, []
        if not caught:
            return None
        # A gradient to be differentiated again needs its graph, which factors lack.
        if len(caught) == 1 and not gradient.requires_grad:
            factors = self._factors(*caught[0])
            probe = _probe(self.layer.features, gradient.dtype, gradient.device)
            if _agree(self.layer.weight_rows(gradient), factors, probe):
                return factors
        self._rest = REST
        return None

    def remove(self) -> None:
        """Remove the hook."""
        self._handle.remove()

    def _factors(self, inputs: Tensor, output_gradients: Tensor) -> Factors:
        return Factors(
            rows_of(self.layer.input_rows(inputs)),
            rows_of(self.layer.output_rows(output_gradients)),
        )

    def _forward(
        self, module: nn.Module, args: tuple[Tensor, ...], output: Tensor
    ) -> None:
        # First, lest a compiled model be compiled again whenever `active` changes.
        if torch.compiler.is_compiling() or not self.active or not args:
            return
        if not self._is_exact(output):
            return
        layer = self.layer
        rows = output.numel() // layer.width
        if not rgo_core.factors_pay(rows, layer.features, layer.outputs):
            return
        if self._rest:
            self._rest -= 1
            return
        inputs = args[0].detach()
        output.register_hook(lambda gradient: self._catch(inputs, gradient.detach()))

    def _is_exact(self, output: Tensor) -> bool:
        """Tell whether a weight gradient is due that a comparison can tell apart.

        Below float32 its rounding would hide a penalty on the weights.
        """
        dtype = self.layer.weight.dtype
        return (
            output.requires_grad
            and self.layer.weight.requires_grad
            and output.dtype == dtype
            and dtype in (torch.float32, torch.float64)
        )

    def _catch(self, inputs: Tensor, output_gradients: Tensor) -> None:
        if not (self._caught or self.until_taken):
            torch.autograd.Variable._execution_engine.queue_callback(self._forget)
        self._caught.append((inputs, output_gradients))

    def _forget(self) -> None:
        self._caught = []


def _agree(gradient: Tensor, factors: Factors, probe: Tensor) -> bool:
    """Compare ``G v`` with ``D^T (X v)`` for one vector v, the probe.

    Two matrices that differ agree on hardly any v. The bound is that of the rounding
    of ``X^T D``.
    """
    inputs, output_gradients = factors
    expected = ((inputs @ probe)[..., None, :] @ output_gradients)[..., 0, :]
    difference = torch.dist(gradient @ probe, expected)
    scale = torch.linalg.vector_norm(inputs) * torch.linalg.vector_norm(
        output_gradients
    )
    return bool(difference <= 16 * torch.finfo(gradient.dtype).eps * scale)


@cache
def _probe(features: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return n numbers of variance one that no weight lines up with."""
    steps = torch.arange(1, features + 1, dtype=dtype, device=device)
    return torch.cos(steps * steps) * 2**0.5
