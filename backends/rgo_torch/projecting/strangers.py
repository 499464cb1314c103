"""What optimizers step beside the model that RGO was given: it is not protected."""

import weakref
from collections.abc import Collection, Sequence

from torch import Tensor, nn
from torch.optim import Optimizer

from rgo_torch.modules.warning import warn_caller


class Strangers:
    """The parameters that optimizers step and the model does not hold.

    Parameters
    ----------
    optimizers : sequence of torch.optim.Optimizer
    model : nn.Module
    held : collection of int
        The ids of what stands for the model's parameters, where those are cut up.
    """

    def __init__(
        self, optimizers: Sequence[Optimizer], model: nn.Module, held: Collection[int]
    ) -> None:
        self._optimizers, self._model, self._held = optimizers, model, held
        # An id is given again to what comes after.
        self._told: dict[int, weakref.ref[Tensor]] = {}

    def warn(self) -> None:
        """Warn of those not told yet: they come by add_param_group too, or thaw."""
        known = {*self._held, *(id(p) for p in self._model.parameters())}
        strangers = [
            p
            for optimizer in self._optimizers
            for group in optimizer.param_groups
            for p in group["params"]
            if isinstance(p, Tensor) and p.requires_grad and id(p) not in known
            if not self._is_told(p)
        ]
        if not strangers:
            return
        shapes = [tuple(p.shape) for p in strangers[:3]]
        warn_caller(
            f"the optimizer steps {len(strangers)} parameters that the model given to "
            f"RGO does not hold, of shapes {shapes}: what they learn of a task "
            "the next ones overwrite; give RGO a module that holds them too"
        )
        self._told |= {id(p): weakref.ref(p) for p in strangers}

    def _is_told(self, parameter: Tensor) -> bool:
        told = self._told.get(id(parameter))
        return told is not None and told() is parameter
