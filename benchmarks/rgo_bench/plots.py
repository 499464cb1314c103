"""Figures of records, to be told apart in print and by color-blind eyes."""

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from rgo_bench.records import Record
from rgo_bench.runs import Run, group_by_run
from rgo_core import average_accuracy

# Okabe and Ito's colors without the yellow, which is too pale for a line on white.
COLORS = (
    *("#0072B2", "#D55E00", "#009E73", "#000000"),
    *("#CC79A7", "#56B4E9", "#E69F00"),
)
# Seven, four and five have no common divisor: 140 lines before one repeats.
STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v")


def figure_average_accuracy(records: Iterable[Record]) -> Figure:
    """Draw the average accuracy over the tasks seen against their number.

    Parameters
    ----------
    records : iterable of Record
        At least one record. Every stream has its own axes, every method and variant
        its own line: the mean over the seeds in a band of one standard deviation.

    Returns
    -------
    matplotlib.figure.Figure
        The figure; its ``savefig`` writes it. No global state is used.

    Raises
    ------
    ValueError
        If there is no record, or a run's records state different configurations.
    """
    groups = group_by_run(records)
    if not groups:
        raise ValueError("records: expected at least one to draw, got none")
    streams = sorted({run.stream for run in groups})
    figure = Figure(figsize=(5.2 * len(streams), 3.8), layout="constrained")
    panels = figure.subplots(1, len(streams), squeeze=False)[0]
    for stream, axes in zip(streams, panels, strict=True):
        own = {run: group for run, group in groups.items() if run.stream == stream}
        _draw_stream(axes, stream, own)
    return figure


def average_over_seen(record: Record) -> NDArray[np.float64]:
    """Return the average accuracy over the tasks seen, after each task.

    Parameters
    ----------
    record : Record
        The record.

    Returns
    -------
    array (T,)
        In percent; NaN after a task that was not followed by tests on all tasks seen.
    """
    matrix = record.matrix
    return np.array(
        [float(average_accuracy(matrix[:t, :t])) for t in range(1, len(matrix) + 1)]
    )


def _draw_stream(axes: Axes, stream: str, groups: dict[Run, list[Record]]) -> None:
    for position, (run, group) in enumerate(groups.items()):
        curves = np.stack([average_over_seen(record) for record in group])
        _draw_run(axes, position, _label(run, groups), curves)
    axes.set_title(stream)
    axes.set_xlabel("tasks seen")
    axes.set_ylabel("average accuracy (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def _draw_run(
    axes: Axes, position: int, label: str, curves: NDArray[np.float64]
) -> None:
    tasks = np.arange(1, curves.shape[1] + 1)
    mean, std = curves.mean(axis=0), curves.std(axis=0)
    color = COLORS[position % len(COLORS)]
    axes.fill_between(tasks, mean - std, mean + std, color=color, alpha=0.2, lw=0)
    axes.plot(
        tasks,
        mean,
        color=color,
        linestyle=STYLES[position % len(STYLES)],
        marker=MARKERS[position % len(MARKERS)],
        markersize=4,
        label=label,
    )


def _label(run: Run, groups: dict[Run, list[Record]]) -> str:
    """Name the network and the backend too, where lines differ in nothing else."""
    if [other.label for other in groups].count(run.label) == 1:
        return run.label
    return f"{run.label}, {run.network}, {run.backend}"
