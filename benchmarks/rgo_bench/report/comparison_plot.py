"""Accuracy against memory, and against time."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from rgo_bench.report.plots import COLORS, MARKERS

MOST = 30  # runs that a legend still shows


def figure_comparison(rows: pd.DataFrame) -> Figure:
    """Draw the accuracy of every run against what it keeps, and what it takes to learn.

    Rows of `comparisons` whose memory is not told stand on the right alone. Of more
    than 30 the variants of a method that is there with its default options are left
    out. A mark carries a bar of one standard deviation over the seeds.
    """
    if len(rows) > MOST:
        plain = rows.method[rows.variant == ""]
        rows = rows[(rows.variant == "") | ~rows.method.isin(plain)]
    height = max(4.2, 0.17 * len(rows) + 0.6)  # of as many lines of the legend
    figure = Figure(figsize=(13.0, height), layout="constrained")
    memory, time = figure.subplots(1, 2, sharey=True)
    _draw(memory, rows, "kept_bytes", 2**20, "kept, MiB")
    _draw(time, rows, "seconds", 1, "seconds of learning")
    memory.set_ylabel("average accuracy, %")
    figure.suptitle(rows.stream.iloc[0])
    marks, names = time.get_legend_handles_labels()
    figure.legend(marks, names, loc="outside right upper", fontsize=7)
    return figure


def _draw(
    axes: Axes, rows: pd.DataFrame, measure: str, unit: float, label: str
) -> None:
    for place, row in enumerate(rows.itertuples()):
        axes.errorbar(
            [getattr(row, measure) / unit],
            [row.acc],
            yerr=[row.acc_std],
            color=COLORS[place % len(COLORS)],
            marker=MARKERS[place // len(COLORS) % len(MARKERS)],
            linestyle="none",
            capsize=2,
            label=row.run.label,
        )
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(label)
    axes.grid(alpha=0.3)
