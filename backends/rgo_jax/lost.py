"""Whether second moments hold those of the tasks before, and of the one that ends."""

import warnings
from collections.abc import Mapping
from typing import Final

import jax
import numpy as np
from jax import Array

from rgo_core._closing import Added, little_closed
from rgo_core.damping import Damping
from rgo_jax.forms import Moment, main_array, trace
from rgo_jax.projection import ProjectionState

# Of traces in float32, that of the same H added up in another order.
ROUNDING: Final = 1e-5

FLOORED: Final = (
    "softmax_score(logits, y, curvature='floored'). Or the second moments are those of "
    "the last task: observe leaves what it is given as it is, and returns new ones"
)


def warn_of_loss(
    before: ProjectionState,
    after: Mapping[str, Array],
    moments: Mapping[str, Moment],
    damping: Damping,
) -> None:
    """Warn where second moments lack those of the tasks before, or of this one.

    Parameters
    ----------
    before : ProjectionState
    after : mapping of str to array ()
        The traces of all second moments now.
    moments : mapping of str to SecondMoment, DiagonalMoment or SketchedMoment
    damping : float or rgo_core.Relative
    """
    if any(
        isinstance(each, jax.core.Tracer)
        for each in jax.tree.leaves([before.traces, after])
    ):
        return
    lost = [
        path for path in after if after[path] < before.traces[path] * (1 - ROUNDING)
    ]
    if lost:
        warnings.warn(
            f"{', '.join(sorted(lost))}: the second moments are smaller than at the "
            "end of the last task, so that its protection is lost; expected those of "
            "all tasks so far: go on with what observe returned for the last task",
            stacklevel=4,
        )
        return
    weights = {
        path: Added(
            float(after[path] - before.traces[path]),
            np.asarray(trace(each)),
            main_array(each).shape[-1],
        )
        for path, each in moments.items()
        if path in before.weights
    }
    little = little_closed(weights, damping, FLOORED)
    if little is not None:
        warnings.warn(little, stacklevel=4)
