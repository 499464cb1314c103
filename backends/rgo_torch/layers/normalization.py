"""Normalizations: their weight and bias meet the normalized input entry by entry."""

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.func import functional_call

from rgo_core import Axes
from rgo_torch.layers.layer import Call, Vectors
from rgo_torch.layers.transformed import TransformedLayer

# Weight and bias have the shape of the last axes, or that of the channels, axis 1.
LAST = (nn.LayerNorm, nn.RMSNorm)
NORMALIZATIONS: tuple[type[nn.Module], ...] = (
    *LAST,
    nn.GroupNorm,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
)


class NormalizationLayer(TransformedLayer):
    """``y = w N(x) + b``: the gradients of w and b are sums of D N(x) and of D."""

    records_first = True  # no hook is called again

    def sample_gradients(
        self, call: Call, gradients: Sequence[Tensor | None]
    ) -> dict[str, Tensor] | None:
        """Return the gradients of each sample, or None for one sample alone."""
        (gradient,) = gradients
        assert gradient is not None  # calls without one are left out
        weight = self.module.get_parameter("weight")
        kept = weight.ndim if isinstance(self.module, LAST) else 1
        if gradient.ndim <= kept:
            return None
        products = {"bias": gradient.to(call.dtype)}
        if "weight" in self.axes:
            plain = {
                own: (p.new_ones if own == "weight" else p.new_zeros)(p.shape)
                for own, p in self.module.named_parameters()
            }
            given = {f"module.{own}": tensor for own, tensor in plain.items()}
            normalized = functional_call(_Hookless(self.module), given, (call.inputs,))
            products["weight"] = products["bias"] * normalized
        return {own: self._summed_places(products[own], kept) for own in self.axes}

    def sampled_shape(
        self, call: Call, gradients: Sequence[Tensor | None]
    ) -> tuple[int, ...]:
        """Return the axes of samples and positions, and the parameter's as one.

        Of those whose second axis is that of the channels: the samples' alone.
        """
        shape = super().sampled_shape(call, gradients)
        if not isinstance(self.module, LAST):
            return shape[:1]
        places = max(1, len(shape) - self.module.get_parameter("weight").ndim)
        return (*shape[:places], math.prod(shape[places:]))

    def _by_formula(
        self, call: Call, gradients: Sequence[Tensor | None], wanted: Vectors
    ) -> dict[str, Tensor] | None:
        if wanted.per != "batch":
            self._find_samples(call, gradients, wanted)
        return super()._by_formula(call, gradients, wanted)

    def _summed_places(self, product: Tensor, kept: int) -> Tensor:
        """Sum over all axes but those of the samples and of the parameter."""
        product = product.transpose(0, self.sample_axis)
        first = product.ndim - kept if isinstance(self.module, LAST) else 1
        places = set(range(1, product.ndim)) - set(range(first, first + kept))
        return product.sum(sorted(places)) if places else product


class _Hookless(nn.Module):
    """Runs a module's forward alone."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.module.forward(inputs)
        return found


def normalization_axes(module: nn.Module) -> dict[str, Axes]:
    """Return the axes of weight and bias: diagonal, for no two entries meet.

    Of those that are computed too, for then the formulas are not the module's.
    """
    named = {own: getattr(module, own, None) for own in ("weight", "bias")}
    return {
        own: Axes(inputs=tuple(range(p.ndim)), diagonal=True)
        for own, p in (named | dict(module.named_parameters(recurse=False))).items()
        if p is not None
    }
