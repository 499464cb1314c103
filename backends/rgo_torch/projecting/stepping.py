"""Which optimizers step a model's parameters, whether RGO was given them or not."""

import weakref
from collections.abc import Collection, Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from rgo_torch.parameters.parameter import ProjectedParameter
from rgo_torch.projecting.optimizers import drop_momentum, held_by


class Stepping:
    """Notes each optimizer of PyTorch that steps, until it is removed or dropped.

    Parameters
    ----------
    given : sequence of torch.optim.Optimizer
        Those that are known before they step.
    parameters : collection of ProjectedParameter
        Which they are to hold.

    Notes
    -----
    PyTorch calls one hook after every step of every optimizer: half a microsecond. It
    keeps neither optimizers nor models alive. What calls no hooks is noted by what it
    wraps and steps.
    """

    def __init__(
        self,
        given: Sequence[Optimizer],
        parameters: Collection[ProjectedParameter],
    ) -> None:
        self._given, self._parameters = given, parameters
        seen = weakref.WeakValueDictionary[int, Optimizer]()

        def note(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            if id(optimizer) not in seen:
                seen[id(optimizer)] = optimizer

        self._seen = seen
        handle = register_optimizer_step_post_hook(note)
        self._finalizer = weakref.finalize(self, handle.remove)
        self._finalizer.atexit = False

    def remove(self) -> None:
        """Note nothing from now on."""
        self._finalizer()

    def drop_momentum(self) -> None:
        """Set to zero what any of them keeps of the parameters' gradients."""
        wanted = {id(parameter.held) for parameter in self._parameters}
        # A list, for other threads step too.
        seen = [reference() for reference in self._seen.valuerefs()]
        others = [o for o in seen if o and not wanted.isdisjoint(held_by(o))]
        drop_momentum([*self._given, *others], self._parameters)
