"""What was learned and what is left of it: a picture of the table of adapters."""

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rgo_bench.lora.choice import METHODS
from rgo_bench.lora.table import lora_rows
from rgo_bench.records import replace_file
from rgo_bench.zoo.record import ZooRecord

# Okabe and Ito's colors, for color-blind eyes.
OTHERS, OURS = "#888888", "#D55E00"
# The same file from the same numbers.
STYLE: Final[Any] = {"svg.hashsalt": "rgo", "svg.fonttype": "none", "font.size": 8}


def lora_figure(records: Iterable[ZooRecord]) -> Figure:
    """Draw, for each stream and method, the accuracy when learned and at the end.

    An axis for each stream: a ring where a method learned, a dot where it ended (means
    over seeds), and what was forgotten as the line between. Chance is the left edge.
    Records of variants are left out.
    """
    rows = lora_rows(records)
    rows = rows[rows.variant == ""]
    if rows.empty:
        raise ValueError("expected records of adapters to draw, got none")
    streams = list(rows.groupby("stream", sort=False))
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


def write_lora_figure(records: Iterable[ZooRecord], path: Path) -> None:
    """Write `lora_figure` to an SVG file."""
    picture = BytesIO()
    with mpl.rc_context(STYLE):
        lora_figure(records).savefig(picture, format="svg", metadata={"Date": None})
    replace_file(path, picture.getvalue())


def _draw(axis: Axes, height: int, row: Any) -> None:
    color = OURS if row.method == "rgo" else OTHERS
    learned, left = row.learned, row.acc
    axis.plot([left, learned], [height, height], "-", color=color, linewidth=1.2)
    axis.plot(learned, height, "o", color=color, fillstyle="none", markersize=5)
    axis.plot(left, height, "o", color=color, markersize=5)
