"""Layers whose weight gradient leaves the backward pass already projected.

The gradient of a weight is ``X^T D``, with X the layer's inputs (of a convolution: its
patches) and D its output gradients. With few rows it is much cheaper to project X than
the gradient (`rgo_core.project_factors`). So the layer's `forward` is replaced by one
whose backward pass forms ``(X P)^T D`` in the first place, where that pays.

What else reaches the weight (a penalty in the loss, a second use of a tied weight)
arrives plain. The two are told apart where they meet, at the weight, and the rest is
projected there: the sum is the projection of the whole gradient, always.
"""

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from rgo_torch.fast import kept_whole
from rgo_torch.fast.packed import PackedProduct
from rgo_torch.fast.precision import is_autocast, true_float32
from rgo_torch.fast.sent import Sent
from rgo_torch.layers.rows import RowLayer
from rgo_torch.modules.torch_private import backward_pass, own_parameters
from rgo_torch.modules.wrappers import is_transformed
from rgo_torch.parameters.parameter import Projection

# The dtypes that projections are applied in.
EXACT = (torch.float32, torch.float64)

# Brings a projection to where its parameter is; None where nothing is projected.
BringProjection = Callable[[], Projection | None]


class ProjectedForward:
    """Stands in for the `forward` of a layer until it is removed.

    A deep copy of the module, or a pickled one, gets the plain `forward` of its class.

    Parameters
    ----------
    layer : RowLayer
    bring : callable
        Returns what to project with now; None leaves everything plain.
    """

    def __init__(self, layer: RowLayer, bring: BringProjection) -> None:
        self.layer = layer
        self._bring = bring
        self._module = layer.module
        self._weight = layer.weight
        self._plain: Callable[[Tensor], Tensor] = self._module.forward
        self.sent = Sent()
        self._times = PackedProduct()
        self._number = kept_whole.number_of(self)
        self._is_removed = False
        self._module.__dict__["forward"] = self

    def __call__(self, input: Tensor) -> Tensor:
        """Return what the layer returns."""
        if not self._pays(input):
            return self._plain(input)
        return _projected(input, self._weight, self.layer.bias, self)

    def weight_gradient(self, inputs: Tensor, output_gradients: Tensor) -> Tensor:
        """Return the projected gradient of the weight, and note it as sent."""
        if torch.compiler.is_compiling():
            found: Tensor = kept_whole.weight_gradient(
                inputs, output_gradients, self._weight, self._number
            )
            return found
        return self.formed(inputs, output_gradients)

    def formed(self, inputs: Tensor, output_gradients: Tensor) -> Tensor:
        """Do as `weight_gradient`, where nothing is traced."""
        layer, projection, number = self.layer, self._bring(), backward_pass()
        rows = layer.all_rows(inputs)
        gradients = layer.all_gradient_rows(output_gradients)
        # Nothing to project with; or compiled autograd runs the backward pass, which
        # takes no callback, and leaves all to where gradients meet.
        if projection is None or number < 0:
            return layer.weight_product(gradients, rows)
        with true_float32(rows):
            projected = self._times(projection, rows)
            gradient = layer.weight_product(gradients, projected)
        self.sent.note(gradient, number)
        return gradient

    def remove(self) -> None:
        """Give the module its own `forward` back.

        What took this one for it, as a hook that calls what it found, calls it still:
        plainly from now on.
        """
        self._is_removed = True
        if self._module.__dict__.get("forward") is self:
            del self._module.__dict__["forward"]

    def __deepcopy__(self, memo: dict[int, Any]) -> MethodType:
        copied = memo[id(self._module)]
        return MethodType(type(copied).forward, copied)

    def __reduce__(self) -> tuple[Any, ...]:
        # When it is read, the module has nothing but its class's yet.
        return getattr, (self._module, "forward")

    def _pays(self, inputs: Tensor) -> bool:
        layer, weight = self.layer, self._weight
        return (
            not self._is_removed
            # Not so inside torch.func.functional_call.
            and own_parameters(self._module).get("weight") is weight
            # PyTorch's own layer takes a batch of none, too.
            and 0 < layer.row_count(inputs) < layer.outputs
            and self._is_worth_it(inputs)
            and torch.is_grad_enabled()
            and weight.requires_grad
            # Mixed and half precision are left to PyTorch's own layer.
            and inputs.dtype == weight.dtype in EXACT
            and not is_autocast(weight)
            and not is_transformed()
        )

    def _is_worth_it(self, inputs: Tensor) -> bool:
        if not torch.compiler.is_compiling():
            return self._bring() is not None
        # Without a look at the projection, lest all be compiled again when it changes;
        # and not where CUDA graphs may replay kernels, and nothing of Python.
        return inputs.device.type == "cpu" and not _is_exporting()


def has_foreign_forward(module: nn.Module) -> bool:
    """Whether a module calls another forward than its class's or a projected one.

    A copy has its class's in place of a projected one.
    """
    forward = module.__dict__.get("forward")
    return not (
        forward is None
        or isinstance(forward, ProjectedForward)
        or forward == MethodType(type(module).forward, module)
    )


class _Projected(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        owner: ProjectedForward,
    ) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.owner = owner
        return owner.layer.call(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        layer = ctx.owner.layer
        of_input, of_weight, of_bias, _ = ctx.needs_input_grad
        return (
            layer.input_gradient(inputs, weight, d) if of_input else None,
            ctx.owner.weight_gradient(inputs, d) if of_weight else None,
            _summed(d, layer.channel_axis) if of_bias else None,
            None,
        )


# Older versions do not tell it from compiling; they project the whole gradient there.
_is_exporting: Callable[[], bool] = getattr(
    torch.compiler, "is_exporting", torch.compiler.is_compiling
)
_projected: Callable[[Tensor, Tensor, Tensor | None, ProjectedForward], Tensor] = (
    _Projected.apply
)


def _summed(d: Tensor, kept: int) -> Tensor:
    """Sum over all axes but one."""
    if d.ndim == 2:
        return d.sum(0 if kept in (1, -1) else 1)
    others = [axis for axis in range(d.ndim) if axis != kept % d.ndim]
    return d.sum(others) if others else d
