"""`torch.nn.MultiheadAttention`, which uses its own projections without calling them."""

import inspect
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from rgo_core import Axes
from rgo_torch.layers.layer import Call, Channels
from rgo_torch.layers.transformed import TransformedLayer

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


def attention_axes(module: nn.MultiheadAttention) -> dict[str, Axes]:
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
