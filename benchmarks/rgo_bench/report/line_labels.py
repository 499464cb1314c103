"""Names at the ends of lines, in place of a legend."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

# Between two names, of the height of the axes.
GAP = 0.05
_POINTER = {"arrowstyle": "-", "linewidth": 0.9, "shrinkA": 2, "shrinkB": 3}


class LineEnd(NamedTuple):
    """Where a line ends, and what to call it."""

    name: str
    x: float
    y: float
    color: str  # of its pointer; the name itself is dark, to be read


def label_ends(axes: Axes, ends: Sequence[LineEnd]) -> None:
    """Name lines to the right of axes whose limits are final, in the ends' order."""
    low, high = axes.get_ylim()
    places = spread_out([end.y for end in ends], GAP * (high - low))
    for end, place in zip(ends, places, strict=True):
        axes.annotate(
            end.name,
            xy=(end.x, end.y),
            xytext=(1.06, place),
            textcoords=axes.get_yaxis_transform(),
            annotation_clip=False,
            verticalalignment="center",
            fontsize="small",
            arrowprops={**_POINTER, "color": end.color},
        )


def spread_out(values: Sequence[float], gap: float) -> NDArray[np.float64]:
    """Return the places nearest to `values` that are at least `gap` apart.

    In the order of `values`; the sum of squares of their way is the least.

    Examples
    --------
    >>> spread_out([5.0, 1.0, 5.0], 2.0).tolist()
    [4.0, 1.0, 6.0]
    """
    order = np.argsort(values, kind="stable")
    steps = gap * np.arange(len(order))
    places = np.empty(len(order))
    places[order] = isotonic_regression(np.asarray(values)[order] - steps).x + steps
    return places
