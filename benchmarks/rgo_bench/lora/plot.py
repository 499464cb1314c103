"""What was learned and what is left of it: a picture of the table of adapters."""

from collections.abc import Iterable
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rgo_bench.lora.choice import METHODS
from rgo_bench.lora.table import lora_rows
from rgo_bench.zoo.record import ZooRecord

# Okabe and Ito's colors, for color-blind eyes.
OTHERS, OURS = "#888888", "#D55E00"
# The same file from the same numbers.
STYLE: Final[Any] = {"svg.hashsalt": "rgo", "svg.fonttype": "none", "font.size": 8}


def lora_figure(records: Iterable[ZooRecord]) -> Figure:
    """Draw, for each stream and method, the accuracy when learned and at the end.

    Parameters
    ----------
    records : iterable of ZooRecord
        Those of variants are left out.

    Returns
    -------
    matplotlib.figure.Figure
        An axis for each stream: a ring where a method learned, a dot where it ended
        (means over seeds), and what was forgotten as the line between. Chance is the
        left edge.

    Raises
    ------
    ValueError
        If there is no record.
    """
    rows = lora_rows(records)
    rows = rows[rows.variant == ""]
    if rows.empty:
        raise ValueError("expected records of adapters to draw, got none")
    streams = list(rows.groupby("stream", sort=False))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.4 * len(streams) + 1.8, 2.6), layout="constrained")
        axes = figure.subplots(1, len(streams), squeeze=False, sharey=True)[0]
        methods = [method for method in METHODS if method in set(rows.method)][::-1]
        for axis, (name, own) in zip(axes, streams, strict=True):
            for row in own.itertuples():
                _draw(axis, methods.index(row.method), row)
            axis.set_title(name)
            axis.set_xlim(25, 101)
            axis.set_xlabel("accuracy, %")
            axis.spines[["top", "right"]].set_visible(False)
        axes[0].set_yticks(range(len(methods)), [METHODS[name] for name in methods])
    return figure


def _draw(axis: Axes, height: int, row: Any) -> None:
    color = OURS if row.method == "rgo" else OTHERS
    learned, left = row.learned, row.acc
    axis.plot([left, learned], [height, height], "-", color=color, linewidth=1.2)
    axis.plot(learned, height, "o", color=color, fillstyle="none", markersize=5)
    axis.plot(left, height, "o", color=color, markersize=5)
