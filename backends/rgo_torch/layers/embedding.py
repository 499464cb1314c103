"""Embeddings: which rows a sample looked up, and what came back to them."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from array_api_compat import torch as xp
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

import rgo_core
from rgo_core import Axes
from rgo_torch.layers.graph import nodes_before
from rgo_torch.layers.layer import Call, Channels, Layer, Use, Vectors
from rgo_torch.layers.rows import LINEAR
from rgo_torch.modules.torch_private import looked_up

EMBEDDING = Axes(inputs=(0,), outputs=(1,), diagonal=True)


class EmbeddingLayer(Layer):
    """`torch.nn.Embedding`: n is the size of the vocabulary, m that of a vector.

    Two rows of the table never meet in one product, so that only the diagonal of the
    second moment is kept.

    Parameters
    ----------
    name : str
    module : nn.Embedding
    is_around : bool
        Whether the module has a forward of its own around the lookup, as one that
        scales what was looked up: what comes back to the lookup itself counts then.
    """

    records_first = True  # no hook is called again

    def __init__(
        self, name: str, module: nn.Embedding, *, is_around: bool = False
    ) -> None:
        super().__init__(name, module, {"weight": EMBEDDING})
        self.channels = Channels(module.embedding_dim)
        self._embedding = module
        self._is_around = is_around

    def seen(self, call: Call) -> Call:
        """Return the call of the lookup; without outputs where there is not one."""
        if not self._is_around:
            return call
        found = nodes_before(call.outputs, self.parameter("weight"))
        ids = looked_up(found[0]) if len(found) == 1 else None
        if ids is None:
            return replace(call, outputs=[], places=[])
        edge = GradientEdge(found[0], 0)
        return replace(call, args=(ids,), kwargs={}, outputs=[edge], places=[0])

    @classmethod
    def serves(cls, use: Use, axes: Axes) -> bool:
        """Serve the axes of a tied head too, whose inputs are the outputs here."""
        return axes in (EMBEDDING, LINEAR["weight"])

    def vectors(self, uses: Sequence[Use], wanted: Vectors) -> Tensor:
        """Return the vectors: a sample's entry for each row that it looked up.

        The root mean square over outputs, of the sum over all positions of a row: what
        meets no other entry cannot cancel, and costs nothing more. For the axes of a
        tied head: the gradient of each row.
        """
        together: dict[int, list[tuple[Tensor, Tensor]]] = {}
        for use in uses:
            assert isinstance(use.layer, EmbeddingLayer)  # as the first is
            ids, gradients = use.layer.of_samples(use.call, wanted)
            together.setdefault(len(ids), []).append((ids, gradients))
        found = []
        for calls in together.values():  # of as many samples: positions of one each
            ids = torch.cat([ids for ids, _ in calls], 1)
            gradients = torch.cat([gradients for _, gradients in calls], 2)
            found += self.of_rows(ids, gradients, wanted)
        return torch.cat(found)

    def of_samples(self, call: Call, wanted: Vectors) -> tuple[Tensor, Tensor]:
        """Return the rows (b, p) of a call, and what came back (k, b, p, m)."""
        table, ids = self._embedding, call.inputs
        # Of one axis are the positions that all samples have, or joined sequences; of
        # two, without one of samples, pairs of positions.
        apart = ids.ndim < 2 or len(ids) == 1
        shared = wanted.samples not in ids.shape and len(ids) % wanted.samples > 0
        if not apart and (shared or not self.tells_samples(len(ids), wanted)):
            ids = ids.reshape(-1)
        ids = ids.reshape(len(ids) if ids.ndim else 1, -1)
        given = [gradient for (gradient,) in call.gradients if gradient is not None]
        shape = (len(given), *ids.shape, table.embedding_dim)
        gradients = torch.stack(given).reshape(shape).to(call.dtype)
        if table.padding_idx is not None:  # a row that is never trained
            gradients[:, ids == table.padding_idx] = 0
        return ids, gradients

    def of_rows(self, ids: Tensor, gradients: Tensor, wanted: Vectors) -> list[Tensor]:
        """Return the vectors of each cotangent."""
        rows, width = self._embedding.num_embeddings, self._embedding.embedding_dim
        samples = torch.arange(len(ids), device=ids.device)[:, None].expand_as(ids)
        if wanted.per == "batch":
            samples = torch.zeros_like(samples)
        # The rows that a sample looked up, each once, and which is a position's.
        pairs, place = torch.unique(samples * rows + ids, return_inverse=True)
        found = []
        for gradient in gradients:
            sums = gradient.new_zeros(len(pairs), width)
            sums.index_add_(0, place.reshape(-1), gradient.reshape(-1, width))
            if wanted.axes != EMBEDDING:
                found.append(sums / rows**0.5)
                continue
            columns = rgo_core.reduce_outputs(sums, reduce="rms", xp=xp)
            vectors = sums.new_zeros(int(samples[-1, 0]) + 1, rows)
            vectors.view(-1)[pairs] = torch.linalg.vector_norm(columns, dim=-1)
            found.append(vectors)
        return found
