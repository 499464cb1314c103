"""A weight gradient's factors X and D, caught during the backward pass.

The gradient of a weight is ``X^T D``. With few rows it is much cheaper to project X
than the gradient (`rgo_core.project_factors`). A forward hook sees X, a hook on the
output sees D. Both belong to the graph of one forward call: nothing outlives it.

The factors are used only where they are the whole gradient. A layer that is called
twice has two pairs; a penalty on the weights or a second use of them makes the gradient
differ from ``X^T D``, and a comparison of one row shows it.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

import rgo_core
from rgo_torch.layers import Layer, rows_of

# On the CPU every gradient is compared with its factors, which costs 3% of a step. On
# a device the comparison would wait for it: there the first gradient after a change
# and every hundredth.
COMPARE_EVERY = 100


class Factors(NamedTuple):
    """A layer's inputs X and output gradients D, one row a position."""

    inputs: Tensor  # (r, n), or (g, r, n)
    output_gradients: Tensor  # (r, m), or (g, r, m / g)


class FactorRecorder:
    """Catches the factors of one layer's weight gradient, where they pay.

    Parameters
    ----------
    layer : Layer
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.active = False
        self._caught: list[tuple[Tensor, Tensor]] = []
        self._count = 0
        # Before the encoder's hooks: D is the gradient in the output itself.
        self._handle = layer.module.register_forward_hook(self._forward, prepend=True)

    def reset(self, *, active: bool) -> None:
        """Forget what was caught, and record from now on or not."""
        self.active = active
        self._caught.clear()
        self._count = 0

    def take(self, gradient: Tensor) -> Factors | None:
        """Return the factors of `gradient`, or None where they are not all of it."""
        caught, self._caught = self._caught, []
        if len(caught) != 1:
            return None
        inputs, output_gradients = caught[0]
        dtype = torch.promote_types(gradient.dtype, torch.float32)
        factors = Factors(
            rows_of(self.layer.input_rows(inputs)).to(dtype),
            rows_of(self.layer.output_rows(output_gradients)).to(dtype),
        )
        compare = gradient.device.type == "cpu" or self._count % COMPARE_EVERY == 0
        self._count += 1
        if compare:
            rounding = max(
                torch.finfo(t.dtype).eps for t in (inputs, output_gradients, gradient)
            )
            rows = self.layer.weight_rows(gradient)
            if not _agree(rows, factors, self._count, rounding):
                self._count = 0
                return None
        return factors

    def remove(self) -> None:
        """Remove the hook."""
        self._handle.remove()

    def _forward(
        self, module: nn.Module, args: tuple[Tensor, ...], output: Tensor
    ) -> None:
        if not self.active or torch.compiler.is_compiling() or not args:
            return
        if not output.requires_grad:
            return
        layer = self.layer
        rows = output.numel() // layer.width
        if rgo_core.factors_pay(rows, layer.features, layer.outputs):
            inputs = args[0].detach()
            output.register_hook(lambda d: self._caught.append((inputs, d.detach())))


def _agree(gradient: Tensor, factors: Factors, count: int, rounding: float) -> bool:
    """Compare one feature of the gradient (m, n) with that of its factors.

    A different one each time. The bound is that of a sum over the rows, at the
    rounding of the coarsest dtype in play.
    """
    feature = (count * 7919) % gradient.shape[-1]
    inputs, output_gradients = factors
    column = inputs[..., feature]
    expected = (column[..., None, :] @ output_gradients)[..., 0, :]
    bound = 16 * rounding * float(column.norm()) * float(output_gradients.norm())
    return float(torch.dist(gradient[..., feature], expected)) <= bound
