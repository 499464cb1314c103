"""The second moments and projections of a model's parameters, by name."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from array_api_compat import torch as xp
from torch import Tensor

import rgo_core
from rgo_core._checks import check_seen
from rgo_core.damping import Damping
from rgo_core.scaling import Normalize
from rgo_torch.parameters.forms import kept, placed_moment
from rgo_torch.parameters.parameter import Moment, ProjectedParameter, Projection

# What a worker renews, of the names for which it is asked.
Renewed = tuple[dict[str, Moment], dict[str, Projection]]
Renew = Callable[[Callable[[str], bool]], Renewed]


class Projections:
    """What was observed of parameters, and the projections that come of it.

    Parameters
    ----------
    parameters : mapping of str to ProjectedParameter
    shared : mapping of str to str
        Whose second moment and projection a parameter shares, by names.
    normalize : {"weights", "all", "none"}
        Which projections are scaled to trace n.
    """

    def __init__(
        self,
        parameters: Mapping[str, ProjectedParameter],
        shared: Mapping[str, str],
        normalize: Normalize,
    ) -> None:
        self._parameters, self._shared = parameters, shared
        self._weights, self._biases = scalings(normalize)
        self.observed = {n: p for n, p in parameters.items() if n not in shared}
        self.moments: dict[str, Moment] = {}
        # A parameter without an entry has the identity for its projection.
        self.projections: dict[str, Projection] = {}
        # Whose moments are kept here; None: all. Other workers keep the rest.
        self.owned: Collection[str] | None = None
        self.paused = False

    def names(self) -> list[str]:
        """Return the parameters that have a projection, their own or another's."""
        if not self._shared:
            return list(self.projections)
        return [n for n in self._parameters if self._keeper(n) in self.projections]

    def bring(self, name: str) -> Projection | None:
        """Bring a projection to where its parameter is, and return it.

        None where it is the identity, or projecting is paused.
        """
        keeper = self._keeper(name)
        there = None if self.paused else self.projections.get(keeper)
        if there is None:
            return None
        here = self._parameters[name].placed(there)
        if here is not there:  # the model has moved since
            self.projections[keeper] = here
        return here

    def renew(
        self,
        moments: dict[str, Moment],
        damping: Damping,
        divide: Callable[[Renew], Renewed] | None,
    ) -> None:
        """Add moments to those that are kept, and renew their projections.

        Parameters
        ----------
        moments : dict of str to SecondMoment, DiagonalMoment or SketchedMoment
            Emptied.
        damping : float or rgo_core.Relative
        divide : callable, optional
            Has several workers renew a share each.
        """

        def renewed(mine: Callable[[str], bool]) -> Renewed:
            merged = {
                name: self._merged(name, moments.pop(name))
                for name in list(moments)
                if self.owned is None or name in self.owned
            }
            if self.owned is None:  # else this worker's share may be zero
                check_seen((self.moments | merged).values(), xp)
            return merged, self.of_moments(merged, damping, mine)

        merged, new = divide(renewed) if divide else renewed(lambda name: True)
        self.moments = self.moments | merged
        self.projections = self.projections | new

    def of_moments(
        self,
        moments: Mapping[str, Moment],
        damping: Damping,
        mine: Callable[[str], bool],
    ) -> dict[str, Projection]:
        """Return the projections that come of second moments, of the names asked for.

        Raises
        ------
        ValueError
            If `rgo_core.consolidate` refuses.
        """
        return {
            name: self._projection(name, moment, damping, self.is_normalized(name))
            for name, moment in moments.items()
            if mine(name)
        }

    def plasticity(self, damping: Damping) -> dict[str, float]:
        """Return how much of a step is still free, of the parameters kept here."""
        free = {}
        for name in self.observed:
            projection = self.projections.get(name)
            if projection is None:
                free[name] = 1.0
                continue
            if self.is_normalized(name):
                if name not in self.moments:
                    continue
                projection = self._projection(name, self.moments[name], damping, False)
            left: Tensor = rgo_core.plasticity(projection, xp=xp)
            free[name] = float(left.mean())
        keepers = {name: self._keeper(name) for name in self._parameters}
        return {name: free[own] for name, own in keepers.items() if own in free}

    def is_normalized(self, name: str) -> bool:
        """Whether a parameter's projection is scaled to trace n."""
        is_vector = self._parameters[name].is_vector
        return (self._biases if is_vector else self._weights) == "normalized"

    def _keeper(self, name: str) -> str:
        return self._shared.get(name, name)

    def _merged(self, name: str, moment: Moment) -> Moment:
        parameter = self._parameters[name]
        moment = placed_moment(parameter, moment)
        earlier = self.moments.get(name)
        if earlier is None:
            return moment
        before: Any = placed_moment(parameter, earlier)
        merged: Moment = rgo_core.merge_moments(before, moment)
        return merged

    def _projection(
        self, name: str, moment: Moment, damping: Damping, normalized: bool
    ) -> Projection:
        try:
            projection = rgo_core.consolidate(
                moment,
                damping,
                looked_up=self._parameters[name].is_looked_up,
                normalized=normalized,
                xp=xp,
            )
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        return kept(self._parameters[name], projection)


def scalings(normalize: Normalize) -> tuple[str, str]:
    """Return what a state has for the option: of weights, and of biases."""
    weights = "raw" if normalize == "none" else "normalized"
    return weights, "normalized" if normalize == "all" else "raw"
