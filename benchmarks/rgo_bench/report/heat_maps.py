"""Pictures of the accuracy matrices."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps
from matplotlib.image import imsave
from numpy.typing import NDArray

from rgo_bench.records import Record
from rgo_bench.records.groups import Run
from rgo_bench.report.html import fill

# Of one lightness from dark to bright: it survives color blindness and grey print.
COLORS = colormaps["viridis"]
# Pixels of a picture, at least: some viewers blur what they enlarge.
SIZE = 160


class Scale(NamedTuple):
    """The accuracies in percent that the darkest and the brightest color mean."""

    low: float
    high: float


def heat_maps(groups: Mapping[Run, Sequence[Record]]) -> Markup:
    """Return the mean accuracy matrix of every run as a picture, all on one scale.

    The runs of a stream come beside each other.
    """
    matrices = {run: mean_matrix(group) for run, group in groups.items()}
    scale = shared_scale(matrices.values())
    streams = [
        (stream, [_picture(run, matrix, scale) for run, matrix in items])
        for stream, items in groupby(matrices.items(), key=lambda item: item[0].stream)
    ]
    steps = np.linspace(*scale, 256)[np.newaxis].repeat(8, axis=0)
    ticks = np.linspace(*scale, 6 if (scale.high - scale.low) % 50 == 0 else 5)
    return fill("maps", picture_data(steps, scale), scale, ticks, streams)


def mean_matrix(records: Sequence[Record]) -> NDArray[np.float64]:
    """Return the mean over seeds, NaN where one of them was not tested."""
    mean: NDArray[np.float64] = np.mean([each.matrix for each in records], axis=0)
    return mean


def shared_scale(matrices: Iterable[NDArray[np.float64]]) -> Scale:
    """Return a scale of whole tens that holds all entries."""
    matrices = list(matrices)
    low = min(float(np.nanmin(matrix)) for matrix in matrices)
    high = max(float(np.nanmax(matrix)) for matrix in matrices)
    bottom = min(10 * np.floor(low / 10), 90.0)
    return Scale(float(bottom), float(max(10 * np.ceil(high / 10), bottom + 10)))


def picture_data(values: NDArray[np.float64], scale: Scale) -> str:
    """Return a picture as a data URI; see-through where a value is NaN."""
    content = io.BytesIO()
    low, high = scale
    imsave(content, values, vmin=low, vmax=high, cmap=COLORS, format="png")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def _picture(
    run: Run, matrix: NDArray[np.float64], scale: Scale
) -> tuple[Run, str, int, str, str]:
    """Return a run's picture, its width, its words and its numbers."""
    tasks = len(matrix)
    times = -(-SIZE // tasks)
    enlarged = matrix.repeat(times, axis=0).repeat(times, axis=1)
    learned, kept = np.mean(np.diag(matrix)), np.mean(matrix[-1])
    words = (
        f"Accuracy matrix of {run.label} on {run.stream}, {tasks} tasks: "
        f"{learned:.1f} percent on average when learned, {kept:.1f} at the end, "
        f"{matrix[-1].min():.1f} on the worst task."
    )
    picture, numbers = picture_data(enlarged, scale), f"{learned:.1f} → {kept:.1f}"
    return run, picture, tasks * times, words, numbers
