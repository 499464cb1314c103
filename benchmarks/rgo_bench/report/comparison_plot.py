"""Accuracy against memory, and against time."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rgo_bench.report.comparison import Comparison
from rgo_bench.report.plots import COLORS, MARKERS


def figure_comparison(rows: Sequence[Comparison]) -> Figure:
    """Draw the accuracy of every run against what it keeps, and what it takes to learn.

    Parameters
    ----------
    rows : sequence of Comparison
        Those whose memory is not told stand on the right alone.

    Returns
    -------
    matplotlib.figure.Figure
        Two axes with a logarithmic scale each; a mark is named beside it, and carries
        a bar of one standard deviation over the seeds.
    """
    figure = Figure(figsize=(10.0, 4.2), layout="constrained")
    memory, time = figure.subplots(1, 2, sharey=True)
    told = [row for row in rows if row.kept is not None]
    _draw(memory, told, [(row.kept or 0) / 2**20 for row in told], "kept, MiB")
    _draw(time, rows, [row.seconds for row in rows], "seconds of learning")
    memory.set_ylabel("average accuracy, %")
    figure.suptitle(rows[0].run.stream)
    return figure


def _draw(
    axes: Axes, rows: Sequence[Comparison], x: Sequence[float], label: str
) -> None:
    for place, (row, at) in enumerate(zip(rows, x, strict=True)):
        axes.errorbar(
            [at],
            [row.acc.mean],
            yerr=[row.acc.std],
            color=COLORS[place % len(COLORS)],
            marker=MARKERS[place % len(MARKERS)],
            capsize=2,
        )
        axes.annotate(
            row.run.label,
            (at, row.acc.mean),
            xytext=(5, 3),
            textcoords="offset points",
            fontsize=7,
        )
    axes.set_xscale("log")
    axes.set_xlabel(label)
    axes.grid(alpha=0.3)
    axes.margins(x=0.25)
