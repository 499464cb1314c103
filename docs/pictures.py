"""Draws the pictures of *How RGO works*: `python docs/pictures.py [FOLDER]`."""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("svg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse

import rgo_core
from rgo_core import SecondMoment

# The same file from the same numbers: no date, no random identifiers.
STYLE = {
    "svg.hashsalt": "rgo",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.minor.visible": False,
    "ytick.minor.size": 0,
}
# Okabe and Ito's colors, for color-blind eyes.
GRAY, GREEN, ORANGE, BLUE = "#888888", "#009E73", "#D55E00", "#0072B2"


def quadratic(
    points: np.ndarray, center: np.ndarray, hessian: np.ndarray
) -> np.ndarray:
    """Return half the squared distance from `center`, in the metric of `hessian`."""
    return rgo_core.recursive_least_loss(points, center, hessian)


def path(
    P: np.ndarray, center: np.ndarray, hessian: np.ndarray, *, rate: float, steps: int
) -> np.ndarray:
    """Return the points of gradient descent from the origin, projected by P."""
    points = [np.zeros(2)]
    for _ in range(steps):
        gradient = hessian @ (points[-1] - center)
        points.append(points[-1] - rate * rgo_core.project(P, gradient, axis=-1))
    return np.stack(points)


def draw_levels(
    axis: Axes, center: np.ndarray, hessian: np.ndarray, **style: str
) -> None:
    """Draw the lines along which a quadratic loss is constant."""
    values, vectors = np.linalg.eigh(hessian)
    angle = np.rad2deg(np.arctan2(*vectors[::-1, 0]))
    for level in (0.02, 0.1, 0.3, 0.6, 1.0, 1.5):
        width, height = 2 * np.sqrt(2 * level / values)
        axis.add_patch(
            Ellipse(
                center, width, height, angle=angle, fill=False, linewidth=0.8, **style
            )
        )


def draw_paths(folder: Path) -> None:
    """Two quadratic losses in two weights: the plain path and the projected one."""
    turn = np.deg2rad(25.0)
    axes = np.asarray([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    old = axes @ np.diag([0.02, 1.0]) @ axes.T
    new, center = np.diag([0.6, 0.4]), np.asarray([1.0, 1.6])
    moment = SecondMoment(old, np.asarray(1))
    P = rgo_core.consolidate(moment, damping=0.05)
    paths = {
        "plain": (path(np.eye(2), center, new, rate=0.3, steps=30), ORANGE),
        "projected": (path(P, center, new, rate=0.3, steps=30), BLUE),
    }
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3), width_ratios=(4, 3))
    draw_levels(left, np.zeros(2), old, color=GRAY, linestyle="solid")
    draw_levels(left, center, new, color=GREEN, linestyle="dotted")
    left.plot(0, 0, "o", color="black")
    left.annotate("old optimum", (0, 0), (4, -12), textcoords="offset points")
    left.plot(*center, "x", color="black")
    left.annotate("new optimum", center, (8, -3), textcoords="offset points")
    for name, (points, color) in paths.items():
        left.plot(*points.T, ".-", color=color, label=name, markersize=4, linewidth=1)
        right.plot(
            quadratic(points, np.zeros(2), old), color=color, label=f"old loss, {name}"
        )
        right.plot(
            quadratic(points, center, new), ":", color=color, label=f"new loss, {name}"
        )
    left.set(
        aspect="equal",
        xlim=(-1.2, 3.0),
        ylim=(-0.9, 2.3),
        xlabel="first weight",
        ylabel="second weight",
    )
    left.legend(loc="lower right", edgecolor="white", framealpha=1)
    right.set(xlabel="step", ylabel="loss", ylim=(0, None))
    right.legend(frameon=False)
    save(figure, folder / "paths.svg")


def draw_eigenvalues(folder: Path) -> None:
    """The spectrum of a projection of 64 features after 1, 5 and 20 tasks."""
    n, generator = 64, np.random.default_rng(0)
    moment = rgo_core.empty_moment(n)
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.9), sharex=True)
    colors = {1: GREEN, 5: BLUE, 20: ORANGE}
    for task in range(1, 21):
        directions = generator.normal(size=(6, n)) / n**0.5
        vectors = generator.normal(size=(100, 6)) @ directions
        moment = rgo_core.observe(moment, vectors)
        if task in colors:
            raw = rgo_core.consolidate(moment, damping=1.0, normalized=False)
            left_over = float(rgo_core.plasticity(raw))
            label = f"{task} task{'s' * (task > 1)}: plasticity {left_over:.2f}"
            for axis, P in ((left, raw), (right, rgo_core.normalize(raw))):
                spectrum = np.linalg.eigvalsh(P)[::-1]
                axis.semilogy(
                    range(1, n + 1), spectrum, color=colors[task], label=label
                )
    left.set(title="raw: Q = (I + H / damping)⁻¹", ylabel="eigenvalue")
    right.set(title="scaled to trace n: P")
    right.legend(frameon=False, loc="lower left")
    for axis in (left, right):
        axis.set(xlabel="direction, freest first", ylim=(1e-3, 12))
        axis.axhline(1, color=GRAY, linewidth=0.6)
    save(figure, folder / "eigenvalues.svg")


def draw_encoding(folder: Path) -> None:
    """Features of five similar tasks, as they are and permuted for each task."""
    tasks, width, generator = 5, 48, np.random.default_rng(0)
    shared = generator.normal(size=width)
    own = generator.normal(size=(tasks, width))
    plain = np.maximum(shared + 0.4 * own, 0)
    encoded = np.stack(
        [
            rgo_core.permute(
                features, rgo_core.task_permutation(width, task=task, name="hidden")
            )
            for task, features in enumerate(plain)
        ]
    )
    figure, axes = plt.subplots(2, 2, figsize=(6.4, 3.2), width_ratios=(2, 1))
    rows = zip(axes, (plain, encoded), ("as they are", "permuted"), strict=True)
    for (left, right), features, title in rows:
        left.imshow(features, aspect="auto", cmap="Greys")
        left.set(title=f"features {title}", ylabel="task", yticks=range(tasks))
        unit = features / np.linalg.norm(features, axis=-1, keepdims=True)
        draw_cosines(right, unit @ unit.T)
    axes[1, 0].set(xlabel="unit")
    save(figure, folder / "encoding.svg")


def draw_cosines(axis: Axes, cosines: np.ndarray) -> None:
    """Show the mean of the cosines of two tasks above their matrix."""
    mean = cosines[np.triu_indices_from(cosines, 1)].mean()
    image = axis.imshow(cosines, cmap="Blues", vmin=0, vmax=1)
    axis.set(title=f"mean cosine {mean:.2f}", yticks=[], xticks=[])
    plt.colorbar(image, ax=axis, ticks=[0, 1])


def save(figure: plt.Figure, path: Path) -> None:
    """Write a picture on white, so that it can be read on a dark page too."""
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None}, facecolor="white")
    plt.close(figure)


def main(folder: Path) -> None:
    """Draw every picture into `folder`."""
    with plt.rc_context(STYLE):
        for draw in (draw_paths, draw_eigenvalues, draw_encoding):
            draw(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
