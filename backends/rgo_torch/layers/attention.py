"""`torch.nn.MultiheadAttention`: it uses its projections without calling them."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rgo_core import Axes
from rgo_torch.layers.layer import Call, Channels
from rgo_torch.layers.transformed import TransformedLayer

SEPARATE = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
SIGNATURE = inspect.signature(nn.MultiheadAttention.forward)


class AttentionLayer(TransformedLayer):
    """Multi-head attention: query, key and value have a projection each.

    Its output is encoded, before it is added to a residual.
    """

    def __init__(self, name: str, module: nn.MultiheadAttention) -> None:
        super().__init__(
            name,
            module,
            attention_axes(module),
            channels=Channels(module.embed_dim),
            sample_axis=0 if module.batch_first else 1,
        )

    def sample_axes(
        self, call: Call, given: Sequence[Any], gradients: Sequence[Tensor | None]
    ) -> tuple[list[int | None], list[int | None]]:
        """Return the axes; a mask of padding has its samples first, always."""
        bound = SIGNATURE.bind(self.module, *call.args, **call.kwargs).arguments
        if bound["query"].ndim == 2:
            raise ValueError(f"{self.name}: a single sequence is one sample")
        axes, towards = super().sample_axes(call, given, gradients)
        padding, mask = bound.get("key_padding_mask"), bound.get("attn_mask")
        for place, leaf in enumerate(given):
            if isinstance(leaf, Tensor) and leaf is padding:
                axes[place] = 0
            elif isinstance(leaf, Tensor) and leaf is mask:
                axes[place] = None
        return axes, towards

    def sample_gradients(
        self, call: Call, gradients: Sequence[Tensor | None]
    ) -> dict[str, Tensor] | None:
        """Return the gradients of each sample: each projection's is ``D^T X``.

        None where a score depends on the weights of attention, or for one sequence.
        """
        towards, *others = gradients
        bound = SIGNATURE.bind(self.module, *call.args, **call.kwargs).arguments
        looked_at = any(other is not None for other in others)
        if towards is None or looked_at or bound["query"].ndim != 3:
            return None
        with torch.enable_grad():
            return self._gradients(call, bound, towards.to(call.dtype))

    def _gradients(
        self, call: Call, bound: dict[str, Any], towards: Tensor
    ) -> dict[str, Tensor]:
        """Go through attention once more, from its projections to their gradients."""
        module: Any = self.module
        sequences = [
            bound[name].to(call.dtype).transpose(0, self.sample_axis)
            for name in ("query", "key", "value")
        ]
        towards = towards.transpose(0, self.sample_axis)
        projected = [
            _leaf(functional.linear(x, _like(weight, x), _like(bias, x)))
            for x, weight, bias in zip(sequences, *_in_projections(module), strict=True)
        ]
        query, key, value = projected
        rows = [
            _leaf(_like(row, query).expand(len(query), 1, -1))
            for row in (module.bias_k, module.bias_v)
            if row is not None
        ]
        more = int(bool(rows)) + int(module.add_zero_attn)
        if rows:
            key, value = (
                torch.cat(pair, 1) for pair in zip((key, value), rows, strict=True)
            )
        if module.add_zero_attn:
            key, value = (functional.pad(x, (0, 0, 0, 1)) for x in (key, value))
        query, key, value = (
            x.unflatten(-1, (module.num_heads, -1)).transpose(1, 2)
            for x in (query, key, value)
        )
        added = _added(bound, towards, module.num_heads, more)
        mixed = functional.scaled_dot_product_attention(query, key, value, added)
        mixed = mixed.transpose(1, 2).flatten(-2)
        back = towards @ _like(module.out_proj.weight, towards)
        arrived = torch.autograd.grad(mixed, [*projected, *rows], back)
        weights = [d.mT @ x for x, d in zip(sequences, arrived[:3], strict=True)]
        found = dict(zip(SEPARATE, weights, strict=True))
        if module.in_proj_weight is not None:
            found["in_proj_weight"] = torch.cat(weights, 1)
        return found | {
            "in_proj_bias": torch.cat([d.sum(1) for d in arrived[:3]], 1),
            "out_proj.weight": towards.mT @ mixed.detach(),
            "out_proj.bias": towards.sum(1),
            **{
                f"bias_{n}": d[:, None] for n, d in zip("kv", arrived[3:], strict=False)
            },
        }


def _like(tensor: Tensor | None, other: Tensor) -> Any:
    return None if tensor is None else tensor.detach().to(other.dtype)


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_()


def _in_projections(module: Any) -> tuple[Sequence[Tensor], Sequence[Tensor | None]]:
    """Return weights and biases of query, key and value, packed or separate."""
    weights = (
        (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
        if module.in_proj_weight is None
        else module.in_proj_weight.chunk(3)
    )
    bias = module.in_proj_bias
    return weights, (None,) * 3 if bias is None else bias.chunk(3)


def _added(
    bound: dict[str, Any], towards: Tensor, heads: int, more: int
) -> Tensor | None:
    """Return what both masks add to the scores of attention: (b, h or 1, L, S).

    Rows of attention's own, `more` of them, come last and are masked by none.
    """
    mask, padding = bound.get("attn_mask"), bound.get("key_padding_mask")
    added = []
    if mask is not None:
        added.append(mask if mask.ndim == 2 else mask.unflatten(0, (-1, heads)))
    if padding is not None:
        added.append(padding[:, None, None])
    infinite = towards.new_full((), float("-inf"))
    floats = [
        torch.where(one, infinite, infinite.new_zeros(()))
        if one.dtype == torch.bool
        else one.to(towards.dtype)
        for one in added
    ]
    return functional.pad(sum(floats[1:], floats[0]), (0, more)) if floats else None


def attention_axes(module: Any) -> dict[str, Axes]:
    """Return the axes of the packed or the separate projections, and of the rest."""
    dense, vector = Axes(outputs=(0,), inputs=(1,)), Axes(inputs=(0,))
    width = module.embed_dim
    each = Axes(groups=(0,), outputs=(1,), inputs=(2,), shape=(3, width, width))
    entries = Axes(inputs=(0, 1, 2), diagonal=True)
    known = {
        "in_proj_weight": each,
        "q_proj_weight": dense,
        "k_proj_weight": dense,
        "v_proj_weight": dense,
        "in_proj_bias": Axes(groups=(0,), inputs=(1,), shape=(3, width)),
        "out_proj.weight": dense,
        "out_proj.bias": vector,
        "bias_k": entries,
        "bias_v": entries,
    }
    there = dict(module.named_parameters())
    return {own: axes for own, axes in known.items() if own in there}
