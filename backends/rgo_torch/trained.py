"""Which parameters a task has trained, so that its curvature pass leaves none out."""

from collections.abc import Collection, Mapping

from rgo_core._checks import few_names
from rgo_core._closing import Added, little_closed
from rgo_core.damping import Damping
from rgo_torch.modules.values import Values, changed_since, values_of
from rgo_torch.modules.warning import warn_caller
from rgo_torch.parameters.parameter import ProjectedParameter

FLOORED = (
    "RGO(observe=partial(second_moments, curvature='floored')), with a score of one's "
    "own in label_score(..., curvature='floored')"
)


class Trained:
    """The parameters that changed since a task began, told by sums of their values.

    Parameters
    ----------
    parameters : mapping of str to ProjectedParameter
    """

    def __init__(self, parameters: Mapping[str, ProjectedParameter]) -> None:
        self._parameters = parameters
        self._before: dict[str, Values] = {}
        self._frozen: set[str] = set()  # when the task began

    def watch(self) -> None:
        """Notice what changes from now on: each parameter is read once, none kept."""
        self._before = {n: values_of(p.held) for n, p in self._parameters.items()}
        self._frozen = {
            n for n, p in self._parameters.items() if not p.held.requires_grad
        }

    def forget(self) -> None:
        """Let what changed so far be: it was set, not trained."""
        self._before = {}

    def warn_of_lost(
        self,
        added: Mapping[str, Added],
        damping: Damping,
        elsewhere: Collection[str],
        bypassed: Collection[str],
    ) -> None:
        """Warn of what was trained and loses that, or what was learned before.

        Of one that was moved or cast since, sums do not tell.

        Parameters
        ----------
        added : mapping of str to Added
            What the task adds to second moments.
        damping : float or rgo_core.Relative
        elsewhere : collection of str
            Those whose second moments other workers keep.
        bypassed : collection of str
            Those whose gradients are projected where no backward pass gave them one.
        """
        changed = [name for name in self._before if self._is_changed(name)]
        weights = {
            name: added[name]
            for name in changed
            if name in added and not self._parameters[name].is_vector
        }
        observed = {*elsewhere, *(name for name in added if added[name].trace > 0)}
        unseen = [name for name in changed if name not in observed]
        # What other workers keep may close more.
        little = None if elsewhere else little_closed(weights, damping, FLOORED)
        if little is not None:
            warn_caller(little)
        elif unseen:
            warn_caller(
                f"{few_names(unseen)}: trained in this task, but no score depends on "
                "them, of the samples observed: what they learned is not protected. "
                "Give end_task all samples, if it was given a part, and a score of "
                "all that the loss is made of, with a row for each of its outputs"
            )
        unhooked = [name for name in changed if name in bypassed]
        if unhooked:
            warn_caller(
                f"{few_names(unhooked)}: changed in this task, but no backward pass "
                "gave them a gradient to project: what torch.func, a library of "
                "gradients a sample or weight decay changes overwrites earlier tasks. "
                "Use project='update'"
            )

    def warn_of_untrained(self) -> None:
        """Warn where nothing has changed, though something else was trained."""
        if self._before and not any(map(self._is_changed, self._before)):
            warn_caller(
                "no parameter changed in this task, and an optimizer of others "
                "stepped: is it a copy of the model that was trained? RGO is with the "
                "model that it was given: to go on from a copy, load its state_dict() "
                "into that one, or attach an RGO to it"
            )

    def _is_changed(self, name: str) -> bool:
        held = self._parameters[name].held
        # What was frozen in the task, after its training, may be lost as well.
        is_trained = held.requires_grad or name not in self._frozen
        return is_trained and bool(changed_since(self._before[name], held))
