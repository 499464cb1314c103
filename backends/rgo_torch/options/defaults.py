"""What options of RGO are where they are left out: one depends on another."""

from collections.abc import Sequence
from typing import NamedTuple

from torch.optim import Optimizer

from rgo_core._checks import check_choice, check_positive
from rgo_core.cotangents import CURVATURES
from rgo_core.damping import (
    LIMITED_DAMPING,
    MAP_DAMPING,
    RELATIVE_DAMPING,
    UPDATE_DAMPING,
    Damping,
    Relative,
    measured_damping,
    split_damping,
)
from rgo_core.scaling import Normalize
from rgo_core.vectors import PERS, REDUCES, Per, Reduce
from rgo_torch.observation.chunks import check_chunk_size
from rgo_torch.optimizers import ADAPTIVE, Project, sums_gradients
from rgo_torch.options.observing import CHOSEN, Observing

CANCELS = (
    "curvature='exact' with reduce='mean' leaves the last layer a curvature of "
    "rounding alone, which a Relative damping would take for its scale; use "
    "reduce='rms' or an absolute damping"
)
# Of which form a floor under the curvature was measured, with an absolute damping:
# project, encode, normalize, per, reduce.
FLOORED = ("gradient", True, "none", "sample", "mean")
# What is left out where vectors are root mean squares with a floor by default:
# project, encode, normalize, per, reduce, relative.
BY_SQUARES = ("gradient", True, "none", None, None, None)
# What a summary says of it.
CUT = "the update is projected, not the gradient: tensor parallelism cuts it up"
AT_POSITIONS = "a vector for each position: the network is fully convolutional"


class Chosen(NamedTuple):
    """The options, none left out; `per` and `reduce` may be left to each layer."""

    project: Project
    observing: Observing
    damping: Damping
    normalize: Normalize
    notes: list[str]  # for the summary


def choose(
    optimizers: Sequence[Optimizer],
    observing: Observing,
    *,
    beside_adapters: bool,
    encode: bool,
    project: Project | None,
    damping: Damping | None,
    normalize: Normalize | None,
    relative: bool | None = None,
    convolves: bool = False,
    maps: bool = False,
    is_plain: bool = True,
    is_cut: bool = False,
) -> Chosen:
    """Return what is to be done, for the options of `RGO`.

    P is not scaled to trace n, as the paper's is: on both streams of MNIST that forgets
    less than half as much and ends higher, and where SGD takes long steps scaled ones
    leave what is stable.

    Where gradients are projected and features encoded the curvature has a floor: it
    would fade as samples are fitted. Of a multilayer perceptron the damping is
    absolute, and vectors are means over outputs. Of all else these would cancel, before
    a normalisation or a mean over positions: they are root mean squares. But for plain
    convolutional networks the damping is relative, for the scale of weights before a
    normalisation is any, up to an absolute one, for a few directions may have most of
    the curvature. One that `maps`, whose updates are projected, has a vector for each
    position: one a sample adds up what its many outputs ask for.

    Raises
    ------
    ValueError
        If an option is not one of those listed, or two do not go together.
    """
    check_choice("relative", relative, (None, True, False))
    check_choice("encode", encode, (True, False))
    if damping is not None:
        check_positive("damping", split_damping(damping)[0])
    project, notes = _projected(optimizers, project, is_cut)
    if normalize is None:
        # Beside adapters the rank space has so few directions that a task or two would
        # close them all.
        normalize = "weights" if beside_adapters else "none"
    if observing.is_own:
        if damping is None:
            raise ValueError(
                f"damping must be given for observe={observing.name}: none was "
                "measured for it"
            )
        return Chosen(project, observing, damping, normalize, notes)
    _check_vectors(observing)
    given = observing.bound
    per, reduce = given.get("per"), given.get("reduce")
    by_layer = per is None and reduce is None and project == "update"
    at_positions = by_layer and maps and relative is not False
    if at_positions:
        per, reduce = "position", "mean"
        notes.append(AT_POSITIONS)
    curvature = given.get("curvature")
    is_perceptron = is_plain and not convolves
    left = project, encode, normalize, per, reduce, relative
    by_squares = left == BY_SQUARES and not (is_perceptron or beside_adapters)
    by_squares = by_squares and curvature in (None, "floored")
    if by_squares:
        per, reduce, curvature = "sample", "rms", "floored"
    elif not at_positions and (not by_layer or beside_adapters or relative is False):
        per, reduce = per or "sample", reduce or "mean"
    cancels = curvature == "exact" and reduce == "mean"
    if relative is None and damping is None and not by_squares:
        fades = not is_plain or (convolves and encode)
        fades = fades and (per, reduce) == ("sample", "mean")
        relative = (project == "update" or fades) and not cancels
    if cancels and (relative or isinstance(damping, Relative)):
        raise ValueError(CANCELS)
    if curvature is None:
        form = project, encode, normalize, per, reduce
        is_absolute = not (relative or isinstance(damping, Relative))
        curvature = "floored" if is_absolute and form == FLOORED else "ground-truth"
    if damping is None:
        damping = _measured(
            per,
            reduce,
            at_positions=at_positions,
            limited=by_squares and not is_plain,
            relative=bool(relative),
            encode=encode,
            scaled=normalize != "none",
            floored=curvature == "floored",
        )
    vectors = {"per": per, "reduce": reduce, "curvature": curvature}
    observing = Observing(observing.function, {**given, **vectors})
    return Chosen(project, observing, damping, normalize, notes)


def _measured(
    per: Per | None,
    reduce: Reduce | None,
    *,
    at_positions: bool,
    limited: bool,
    relative: bool,
    **form: bool,
) -> Damping:
    """Return the damping that was measured for the rest."""
    if limited:
        return LIMITED_DAMPING
    if at_positions:
        return MAP_DAMPING
    if per is None or reduce is None:
        return UPDATE_DAMPING
    if relative:
        return RELATIVE_DAMPING
    return measured_damping(per, reduce, **form)


def _projected(
    optimizers: Sequence[Optimizer], project: Project | None, is_cut: bool
) -> tuple[Project, list[str]]:
    """Return what is projected, and why where nobody said so."""
    if project is not None:
        check_choice("project", project, ("gradient", "update"))
        return project, []
    if is_cut:
        return "update", [CUT]
    others = [o for o in optimizers if not sums_gradients(o)]
    notes = [
        f"the update is projected, not the gradient: {type(o).__name__} "
        f"{'adapts' if isinstance(o, ADAPTIVE) else 'may rescale gradients'}"
        for o in others
    ]
    return "update" if others else "gradient", notes


def _check_vectors(observing: Observing) -> None:
    """Raise ValueError unless what is bound to the pass is one of those listed."""
    per, reduce, curvature = (observing.bound.get(name) for name in CHOSEN)
    check_choice("per", per, (None, *PERS))
    check_choice("reduce", reduce, (None, *REDUCES))
    check_choice("curvature", curvature, (None, *CURVATURES))
    check_chunk_size(observing.bound.get("chunk_size"), per)
