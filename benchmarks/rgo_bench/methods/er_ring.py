"""ER-Ring: experience replay from a ring memory."""

import torch
from torch import Tensor
from torch.nn import functional

from rgo_bench.methods.method import masked
from rgo_bench.methods.ring_memory import Replay, ReplayMethod


class ERRing(ReplayMethod):
    """Experience replay with a ring memory (Chaudhry et al., 2019).

    A step trains on the mini-batch together with as many replayed samples: the mean
    loss over both. The memory holds earlier tasks only, as in the setting of Chaudhry
    et al. (2020). It keeps the last samples of each class in the order in which the
    stream draws them, theirs in the order of training.

    References
    ----------
    Chaudhry, Rohrbach, Elhoseiny, Ajanthan, Dokania, Torr and Ranzato, "On Tiny
    Episodic Memories in Continual Learning", 2019.
    """

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the mean cross-entropy over mini-batch and replayed samples."""
        if not len(self.memory):
            return super().loss(x, y)
        replay = self.memory.draw(self.options.replay)
        logits = self.forward(torch.cat([x, replay.x]))
        logits = masked(logits, self._mask(replay, len(x)))
        return functional.cross_entropy(logits, torch.cat([y, replay.y]))

    def _mask(self, replay: Replay, new: int) -> Tensor | None:
        mask = self.setting.masks[self.current]
        if mask is None or replay.mask is None:
            return None
        return torch.cat([mask.expand(new, -1), replay.mask])
