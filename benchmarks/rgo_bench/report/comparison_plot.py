"""Accuracy against memory, and against time."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rgo_bench.report.plots import COLORS, MARKERS


def figure_comparison(rows: pd.DataFrame) -> Figure:
    """Draw the accuracy of every run against what it keeps, and what it takes to learn.

    Parameters
    ----------
    rows : DataFrame
        Of `rgo_bench.report.comparison.comparisons`. Those whose memory is not told
        stand on the right alone.

    Returns
    -------
    matplotlib.figure.Figure
        Two axes with a logarithmic scale each; a mark is named beside it, and carries
        a bar of one standard deviation over the seeds.
    """
    figure = Figure(figsize=(10.0, 4.2), layout="constrained")
    memory, time = figure.subplots(1, 2, sharey=True)
    _draw(memory, rows.dropna(subset="kept_bytes"), "kept_bytes", 2**20, "kept, MiB")
    _draw(time, rows, "seconds", 1, "seconds of learning")
    memory.set_ylabel("average accuracy, %")
    figure.suptitle(rows.stream.iloc[0])
    return figure


def _draw(
    axes: Axes, rows: pd.DataFrame, measure: str, unit: float, label: str
) -> None:
    for place, row in enumerate(rows.itertuples()):
        at = getattr(row, measure) / unit
        axes.errorbar(
            [at],
            [row.acc],
            yerr=[row.acc_std],
            color=COLORS[place % len(COLORS)],
            marker=MARKERS[place % len(MARKERS)],
            capsize=2,
        )
        axes.annotate(
            row.run.label,
            (at, row.acc),
            xytext=(5, 3),
            textcoords="offset points",
            fontsize=7,
        )
    axes.set_xscale("log")
    axes.set_xlabel(label)
    axes.grid(alpha=0.3)
    axes.margins(x=0.25)
