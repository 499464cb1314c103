"""What changes weights after each step of an optimizer, where nothing projects it."""

from collections import Counter
from collections.abc import Collection, Mapping

import torch

from rgo_core._checks import few_names
from rgo_torch.modules.values import Values, changed_since, values_of
from rgo_torch.modules.warning import warn_caller
from rgo_torch.parameters.parameter import ProjectedParameter

# Units of rounding: what was added and taken away again is as it was.
ROUNDING = 4


class Outside:
    """Notices what changes parameters between one step and the next, step after step.

    What happens now and then is no sign of it: a state that is loaded, an average of
    the task's weights, which is made of projected steps too.

    Parameters
    ----------
    parameters : mapping of str to ProjectedParameter

    Notes
    -----
    Looks after the steps 1, 2, 3, 4, 5, 8, 9, 16, 17, ... of a task, where each
    parameter is read twice; at all others a number is counted. Values are compared, for
    PyTorch counts no writes through ``.data``.
    """

    def __init__(self, parameters: Mapping[str, ProjectedParameter]) -> None:
        self._parameters = parameters
        self.begin()

    def begin(self) -> None:
        """Forget all: what was changed so far was set, between tasks."""
        self._steps: Counter[int] = Counter()  # by optimizers' ids
        self._last: dict[str, int] = {}  # the last step after which one changed
        self._told: dict[str, None] = {}  # in order
        self.forget()

    def forget(self) -> None:
        """Compare nothing until after the next step, as after one unprojected."""
        self._seen: dict[str, tuple[int, Values]] = {}

    def before_step(self, names: Collection[str]) -> None:
        """Compare parameters that are about to be stepped with what they were."""
        if not self._seen or _is_captured():
            return
        for name in names:
            step, values = self._seen.pop(name, (0, None))
            held = self._parameters[name].held
            if values is None or not changed_since(values, held, ROUNDING):
                continue
            if self._last.get(name) == step - 1:
                self._told[name] = None
            self._last[name] = step

    def after_step(self, optimizer: int, names: Collection[str]) -> None:
        """Look at what an optimizer has stepped, by its id, now and then."""
        if not names:  # nothing has a projection yet, or projecting is paused
            return
        self._steps[optimizer] += 1
        step = self._steps[optimizer]
        # A power of two, or one more.
        is_due = not step & (step - 1) or not (step - 1) & (step - 2)
        if not is_due or _is_captured():
            return
        for name in names:
            if name not in self._told:
                self._seen[name] = step, values_of(self._parameters[name].held)

    def warn(self) -> None:
        """Warn of what was changed after one step and after the next, since `begin`."""
        if self._told:
            warn_caller(
                f"{few_names(list(self._told))}: changed in this task after each step "
                "by something else, as where weights are clamped, normalised or "
                "copied; only what a step changes is projected, and the rest "
                "overwrites earlier tasks. To have it projected too, do it in a hook "
                "(optimizer.register_step_post_hook) that is there before RGO"
            )


def _is_captured() -> bool:
    """Whether a CUDA graph is being made, in which no value can be looked at."""
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
