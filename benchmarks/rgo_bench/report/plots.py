"""Figures of records, to be told apart in print and by color-blind eyes."""

from collections.abc import Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter
from numpy.typing import NDArray

from rgo_bench.paper.accuracies import paper_order, table_rows
from rgo_bench.paper.published import published_methods
from rgo_bench.records import Record
from rgo_bench.records.groups import Run, group_by_run
from rgo_bench.report.line_labels import LineEnd, label_ends
from rgo_core import average_accuracy

# Okabe and Ito's colors without the yellow, which is too pale for a line on white.
COLORS = (
    *("#0072B2", "#D55E00", "#009E73", "#000000"),
    *("#CC79A7", "#56B4E9", "#E69F00"),
)
# Seven, four and five have no common divisor: 140 lines before one repeats.
STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v")
# The first look of what is not in the paper: its color is not that of a method with
# an accuracy near OWM's, as the next one's would be.
FIRST_FREE = 12
PAPER_MARK: Final[Mapping[str, Any]] = {
    "marker": "<",
    "markersize": 4,
    "linestyle": "",
    "clip_on": False,
}
MOST_NAMED, LONGEST = 12, 32  # lines, and signs of a name, that there is room for
ACROSS = 3  # streams side by side: more would be too small to read on a page
MOST = 30  # runs that a legend still shows

# What tells the line of a run from others, by Matplotlib's names.
Looks: TypeAlias = Mapping[Run, Mapping[str, Any]]


def figure_average_accuracy(records: Iterable[Record]) -> Figure:
    """Draw the average accuracy over the tasks seen against their number.

    Every stream has its own axes, every method and variant its own line: the mean over
    the seeds in a band of one standard deviation, named at its end. Marks at the right
    edge are the paper's final accuracies. Of more than 12 runs of a stream one of each
    method is drawn. No global state is used.
    """
    groups = group_by_run(records)
    if not groups:
        raise ValueError("records: expected at least one to draw, got none")
    looks = _looks(sorted(groups, key=paper_order))
    rows = table_rows(record for group in groups.values() for record in group)
    streams = [own for _, own in rows.groupby("stream", sort=False)]
    across = min(len(streams), ACROSS)
    down = -(-len(streams) // across)
    figure = Figure(figsize=(5.0 * across, 3.7 * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).flat
    for own in streams:
        _draw_stream(next(panels), own, groups, looks)
    for axes in panels:
        axes.remove()
    return figure


def write_average_accuracy(records: Iterable[Record], path: Path) -> None:
    """Write `figure_average_accuracy` as a picture file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure_average_accuracy(records).savefig(path, dpi=150)


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
    _draw_against(memory, rows, "kept_bytes", 2**20, "kept, MiB")
    _draw_against(time, rows, "seconds", 1, "seconds of learning")
    memory.set_ylabel("average accuracy, %")
    figure.suptitle(rows.stream.iloc[0])
    marks, names = time.get_legend_handles_labels()
    figure.legend(marks, names, loc="outside right upper", fontsize=7)
    return figure


def average_over_seen(record: Record) -> NDArray[np.float64]:
    """Return the average accuracy over the tasks seen, after each task, in percent.

    NaN after a task that was not followed by tests on all tasks seen.
    """
    matrix = record.matrix
    return np.array(
        [float(average_accuracy(matrix[:t, :t])) for t in range(1, len(matrix) + 1)]
    )


def _looks(runs: Iterable[Run]) -> Looks:
    """Give the paper's methods the same look in every figure, others the next free."""
    methods = published_methods()
    free = count(FIRST_FREE)
    others: dict[str, int] = {}
    looks = {}
    for run in runs:
        if run.label in methods:
            place = methods.index(run.label)
        else:
            place = others.setdefault(_long_label(run), next(free))
        looks[run] = {
            "color": COLORS[place % len(COLORS)],
            "linestyle": STYLES[place % len(STYLES)],
            "marker": MARKERS[place % len(MARKERS)],
        }
    return looks


def _draw_stream(
    axes: Axes, rows: pd.DataFrame, groups: dict[Run, list[Record]], looks: Looks
) -> None:
    title = rows.stream.iloc[0]
    if len(rows) > MOST_NAMED:
        rows = _one_each(
            rows.assign(tasks=[len(groups[r][0].accuracy) for r in rows.run])
        )
        title += ", one run of each method"
    lengths = [len(groups[run][0].accuracy) for run in rows.run]
    for run in rows.run:
        curves = np.stack([average_over_seen(record) for record in groups[run]])
        _draw_run(axes, looks[run], curves)
    axes.set_title(title, loc="left", fontsize="medium")
    axes.set_xlabel("tasks seen")
    axes.set_ylabel("average accuracy (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.set_xlim(right=max(lengths) * 1.01)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    _mark_paper(axes, rows, looks)
    ends = [
        LineEnd(_label(run, rows.run), tasks, height, looks[run]["color"])
        for run, height, tasks in zip(rows.run, rows.acc, lengths, strict=True)
    ]
    label_ends(axes, ends)


def _one_each(rows: pd.DataFrame) -> pd.DataFrame:
    """Return of each method what is nearest to its default options, or the longest."""
    rows = rows.assign(named=rows.variant.str.len(), given=rows.variant != "")
    order = ["given", "tasks", "named"]
    first = rows.sort_values(order, ascending=[True, False, True], kind="stable")
    return rows.loc[first.drop_duplicates("method").index].sort_index()


def _draw_run(axes: Axes, look: Mapping[str, Any], curves: NDArray[np.float64]) -> None:
    tasks = np.arange(1, curves.shape[1] + 1)
    mean, std = curves.mean(axis=0), curves.std(axis=0)
    band = (mean - std, mean + std)
    axes.fill_between(tasks, *band, color=look["color"], alpha=0.2, lw=0)
    axes.plot(tasks, mean, linewidth=1.3, markersize=3.5, **look)


def _mark_paper(axes: Axes, rows: pd.DataFrame, looks: Looks) -> None:
    """Mark the paper's final accuracies at the right edge."""
    there = rows.dropna(subset="paper_acc")
    compared = [(row.paper_acc, looks[row.run]["color"]) for row in there.itertuples()]
    if not compared:
        return
    axes.update_datalim([(1.0, height) for height, _ in compared])
    axes.autoscale_view(scalex=False)
    place = axes.get_yaxis_transform()
    for height, color in compared:
        axes.plot(1.015, height, transform=place, color=color, **PAPER_MARK)
    mark = Line2D([], [], color="0.5", label="the paper's final accuracy", **PAPER_MARK)
    axes.legend(handles=[mark], loc="lower left", frameon=False, fontsize="small")


def _label(run: Run, runs: Iterable[Run]) -> str:
    """Name the network and the backend too, where lines differ in nothing else."""
    alike = [each.label for each in runs].count(run.label)
    label = run.label if alike == 1 else _long_label(run)
    return label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…"


def _long_label(run: Run) -> str:
    return f"{run.label}, {run.network}, {run.backend}"


def _draw_against(
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
