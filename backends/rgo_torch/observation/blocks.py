"""Curvature vectors gathered by parameter, and folded into its second moment."""

from collections.abc import Mapping
from typing import Any

import torch
from array_api_compat import torch as xp
from torch import Tensor

import rgo_core
from rgo_core.vectors import Per, Reduce
from rgo_torch.layers.layer import Layer, Use, Vectors
from rgo_torch.modules.warning import warn_caller
from rgo_torch.observation.calls import Calls
from rgo_torch.parameters.forms import empty_moment
from rgo_torch.parameters.parameter import (
    Moment,
    ProjectedParameter,
)

# Vectors are folded into the second moment in blocks of so many entries, and of so many
# vectors at least and at most: what is around a product takes longer than one of few
# rows, and many need memory.
ENTRIES = 2**20
BLOCKS = (512, 1024)


class Block:
    """Gathers the vectors of one parameter and folds them in block by block."""

    def __init__(self, parameter: ProjectedParameter) -> None:
        self.name = parameter.name
        self.sharing = [parameter]  # whose vectors count
        self._parameter = parameter
        self._moment: Moment | None = None
        self._waiting: list[Tensor] = []
        self._has_unserved = False  # uses by layers of a kind that has no such vectors
        least, most = BLOCKS
        self._size = min(max(least, ENTRIES // parameter.features), most)

    def add(
        self, calls: Calls, per: Per | None, reduce: Reduce | None, samples: int
    ) -> None:
        """Take the vectors of one batch: those of each kind of layer apart."""
        for parameter in self.sharing:
            wanted = Vectors(parameter.axes, per, reduce, samples)
            self._take(parameter, calls, wanted)
        if sum(v.shape[-2] for v in self._waiting) >= self._size:
            self._fold()

    def _take(
        self, parameter: ProjectedParameter, calls: Calls, wanted: Vectors
    ) -> None:
        alike: dict[type[Layer], list[Use]] = {}
        for layer, own in parameter.uses:
            alike.setdefault(type(layer), []).extend(
                Use(layer, own, call) for call in calls[layer] if not call.is_empty
            )
        for kind, every in alike.items():
            uses = [use for use in every if kind.serves(use, parameter.axes)]
            self._has_unserved |= len(uses) < len(every)
            if not uses:
                continue
            layer = uses[0].layer
            vectors = layer.vectors(uses, layer.resolved(wanted))
            if len(parameter.uses) > 1 and vectors.ndim == 2:
                # Of a table that is tied to a head most rows were not looked up.
                vectors = vectors[(vectors != 0).any(-1)]
            self._waiting.append(vectors)

    def finish(self, share: float) -> Moment | None:
        """Return the whole's second moment; None where the layers were never called.

        Warns
        -----
        UserWarning
            Of uses that its vectors do not tell of.
        """
        if self._has_unserved:
            warn_caller(
                f"{self.name}: used by layers of several kinds, some of which multiply "
                "by it along other axes: what is observed of it is its use by the "
                "others, and it may be protected little. Untie it, or call "
                "register_layout for the class of the one that is not: it is called "
                "again for its samples then, which serves any axes"
            )
        if self._waiting:
            self._fold()
        moment: Any = self._moment
        if moment is None or share == 1:
            return self._moment
        found: Moment = rgo_core.extrapolate(moment, share)
        return found

    def _fold(self) -> None:
        parameter = self._parameter
        vectors = torch.cat(self._waiting, dim=-2).to(parameter.moment_device)
        self._waiting = []
        moment: Any = self._moment
        if moment is None:
            moment = empty_moment(parameter)
        try:
            for part in vectors.split(self._size, dim=-2):  # in float64, one by one
                moment = rgo_core.observe(moment, part, donate=True, xp=xp)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error
        self._moment = moment


def moment_blocks(
    parameters: Mapping[str, ProjectedParameter], shared: Mapping[str, str]
) -> list[Block]:
    """Return one block for each second moment."""
    blocks = {n: Block(p) for n, p in parameters.items() if n not in shared}
    for name, keeper in shared.items():
        blocks[keeper].sharing.append(parameters[name])
    return list(blocks.values())
