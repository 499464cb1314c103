"""Which optimizers step a model's parameters, whether RGO was given them or not."""

import weakref
from collections.abc import Collection, Iterable, Sequence
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

    Attributes
    ----------
    has_stepped : bool
        Whether one that holds a parameter has stepped since `forget`.
    has_stepped_others : bool
        Whether one has that holds none.

    Notes
    -----
    PyTorch calls one hook after every step of every optimizer: half a microsecond. It
    keeps neither optimizers nor models alive. What calls no hooks is noted by what it
    wraps and steps.
    """

    has_stepped = False
    has_stepped_others = False

    def __init__(
        self,
        given: Sequence[Optimizer],
        parameters: Collection[ProjectedParameter],
    ) -> None:
        self._given, self._parameters = given, parameters
        seen = weakref.WeakValueDictionary[int, Optimizer]()
        lately = weakref.WeakValueDictionary[int, Optimizer]()
        mine = weakref.ref(self)

        def note(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            if id(optimizer) not in lately:
                seen[id(optimizer)] = lately[id(optimizer)] = optimizer
                stepping = mine()
                if stepping is not None:
                    stepping.notice(optimizer)

        self._seen, self._lately = seen, lately
        handle = register_optimizer_step_post_hook(note)
        self._finalizer = weakref.finalize(self, handle.remove)
        self._finalizer.atexit = False

    def remove(self) -> None:
        """Note nothing from now on."""
        self._finalizer()

    def unheld(self) -> set[int]:
        """Return the identities of the parameters that none of those given holds."""
        held = set().union(*map(held_by, self._given))
        return {id(p.tensor) for p in self._parameters if id(p.held) not in held}

    def forget(self) -> None:
        """Let those that have stepped so far have stepped before; see `has_stepped`."""
        self._lately.clear()
        self.has_stepped = self.has_stepped_others = False

    def drop_momentum(self) -> None:
        """Set to zero what any of them keeps of the parameters' gradients."""
        # A list, for other threads step too.
        alive = [reference() for reference in self._seen.valuerefs()]
        others = self._holding([each for each in alive if each is not None])
        drop_momentum([*self._given, *others], self._parameters)

    def notice(self, optimizer: Optimizer) -> None:
        """Take an optimizer that steps for one of the parameters', or of others."""
        if self._holding([optimizer]):
            self.has_stepped = True
        else:
            self.has_stepped_others = True

    def _holding(self, optimizers: Iterable[Optimizer]) -> list[Optimizer]:
        """Return those that hold a parameter."""
        wanted = {id(parameter.held) for parameter in self._parameters}
        return [each for each in optimizers if not wanted.isdisjoint(held_by(each))]
