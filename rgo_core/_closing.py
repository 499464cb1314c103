"""Whether a task closes next to nothing, so that what it learned is not protected."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from rgo_core._typing import Array, Namespace
from rgo_core.damping import Damping, alpha_of
from rgo_core.diagonal import DiagonalMoment
from rgo_core.second_moment import SecondMoment
from rgo_core.sketch import SketchedMoment

# Of a direction. Small networks lost tasks that closed 0.003 of one and less, kept some
# that closed 0.03, and with a floor every task closed tens.
LITTLE: Final = 0.1


def traces(
    moment: SecondMoment | DiagonalMoment | SketchedMoment, xp: Namespace
) -> Array:
    """Return the trace of H, of each group."""
    if isinstance(moment, SketchedMoment):
        return moment.trace
    if isinstance(moment, DiagonalMoment):
        return xp.sum(moment.diagonal, axis=-1)
    return xp.linalg.trace(moment.matrix)


class Added(NamedTuple):
    """What a task adds to the second moment of a weight."""

    trace: float
    total: float  # the trace of H, with what was added
    entries: int  # of the diagonal of H: n for each group


def most_closed(added: Added, damping: Damping) -> float:
    """Return an upper bound on how many directions are closed by what was added.

    An eigenvalue h of it closes ``h / (alpha + h) <= h / alpha`` of its direction.
    """
    mean = np.asarray(added.total / added.entries)
    return added.trace / float(alpha_of(damping, mean, np))


def little_closed(
    weights: Mapping[str, Added], damping: Damping, remedy: str
) -> str | None:
    """Return what to tell of a task that closes a tenth of a direction nowhere.

    None where it closes more in any weight, or where nothing was ever observed.
    """
    seen = {name: added for name, added in weights.items() if added.total > 0}
    most = {name: most_closed(added, damping) for name, added in seen.items()}
    if not most or max(most.values()) >= LITTLE:
        return None
    name = max(most, key=most.__getitem__)
    return (
        f"this task closes {most[name]:.1g} of a direction in {name}, and no more in "
        "any other weight: what it learned is hardly protected. Where every sample is "
        "fitted, p (1 - p) of its class is next to zero: the floored curvature counts "
        f"that too, {remedy}"
    )
