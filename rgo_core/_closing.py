"""Whether a task closes next to nothing, so that what it learned is not protected."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from rgo_core.damping import Damping, alpha_of

# Of a direction. Small networks lost tasks that closed 0.003 of one and less, kept some
# that closed 0.03, and with a floor every task closed tens.
LITTLE: Final = 0.1


class Added(NamedTuple):
    """What a task adds to the second moment of a weight."""

    trace: float  # of what is added
    totals: np.ndarray  # the trace of H of each group, with what is added
    features: int  # n


def most_closed(added: Added, damping: Damping) -> float:
    """Return an upper bound on how many directions are closed by what was added.

    With D added to H, at one alpha, ``trace (H + D)(alpha I + H + D)^-1`` grows by
    ``trace(D) / alpha`` at most: it is concave in H, and that is its slope at zero.
    Each group has its alpha; the least bounds them all.
    """
    seen = np.asarray(added.totals)[added.totals > 0]
    if not seen.size:
        return 0.0
    return added.trace / float(np.min(alpha_of(damping, seen / added.features, np)))


def little_closed(
    weights: Mapping[str, Added], damping: Damping, remedy: str
) -> str | None:
    """Return what to tell of a task that closes a tenth of a direction nowhere.

    None where it closes more in any weight, or where nothing was ever observed.
    """
    seen = {name: added for name, added in weights.items() if added.totals.any()}
    most = {name: most_closed(added, damping) for name, added in seen.items()}
    if not most or max(most.values()) >= LITTLE:
        return None
    name = max(most, key=most.__getitem__)
    return (
        f"this task closes {most[name]:.1g} of a direction in {name}, and no more in "
        "any other weight: what it learned is hardly protected. Where every sample is "
        "fitted, p (1 - p) of its class is next to zero: the floored curvature counts "
        f"that too, {remedy}. If it is floored already, the damping is too large, "
        f"{damping}"
    )
