"""What options of RGO are where they are left out: one depends on another."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from torch.optim import Optimizer

from rgo_core._checks import check_choice, check_positive
from rgo_core.cotangents import CURVATURES, Curvature
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
from rgo_torch.options.observing import CHOSEN, Observing
from rgo_torch.projecting.optimizers import ADAPTIVE, Project, sums_gradients

CANCELS = (
    "curvature='exact' with reduce='mean' leaves the last layer a curvature of "
    "rounding alone, which a Relative damping would take for its scale; use "
    "reduce='rms' or an absolute damping"
)
# Of which form a floor under the curvature was measured, with an absolute damping:
# project, encode, normalize, per, reduce.
FLOORED = ("gradient", True, "none", "sample", "mean")
# Where vectors that are left out are root mean squares with a floor: project,
# normalize, relative.
BY_SQUARES = ("gradient", "none", None)
# What a summary says of it.
CUT = "the update is projected, not the gradient: tensor parallelism cuts it up"
AT_POSITIONS = "a vector for each position: the network is fully convolutional"
# How vectors that are left out are filled in: with one a position, with what each layer
# can give, with root mean squares, with one a sample.
_Rule = Literal["positions", "layers", "squares", "samples"]


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

    Where gradients are projected the curvature has a floor: it would fade as samples
    are fitted. Vectors of an encoded multilayer perceptron are means over outputs. Of
    all else these would cancel, before a normalisation or a mean over positions: they
    are root mean squares, which serve better without encoding too. The damping is
    absolute where there are linear and convolutional layers alone, else relative, for
    the scale of weights before a normalisation is any, up to an absolute one, for a few
    directions may have most of the curvature. One that `maps`, whose updates are
    projected, has a vector for each position: one a sample adds up what its many
    outputs ask for.

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
    given = _Vectors(**{name: observing.bound.get(name) for name in CHOSEN})
    case = _Case(
        *(project, encode, normalize, relative),
        *(beside_adapters, convolves, maps, is_plain),
    )
    rule = _rule(case, given)
    vectors = _filled_in(given, rule)
    cancels = vectors.curvature == "exact" and vectors.reduce == "mean"
    if relative is None and damping is None and rule != "squares":
        relative = (project == "update" or _fades(case, vectors)) and not cancels
    is_relative = bool(relative) or isinstance(damping, Relative)
    if cancels and is_relative:
        raise ValueError(CANCELS)
    if vectors.curvature is None:
        form = project, encode, normalize, vectors.per, vectors.reduce
        has_floor = form == FLOORED and not is_relative
        vectors = vectors._replace(curvature="floored" if has_floor else "ground-truth")
    if damping is None:
        damping = _measured(case, rule, vectors, relative=bool(relative))
    if rule == "positions":
        notes.append(AT_POSITIONS)
    observing = Observing(observing.function, {**observing.bound, **vectors._asdict()})
    return Chosen(project, observing, damping, normalize, notes)


class _Case(NamedTuple):
    """What the vectors depend on that are left out, and the damping."""

    project: Project
    encode: bool
    normalize: Normalize
    relative: bool | None
    beside_adapters: bool
    convolves: bool
    maps: bool
    is_plain: bool


class _Vectors(NamedTuple):
    """What is said of the vectors; None: left out."""

    per: Per | None
    reduce: Reduce | None
    curvature: Curvature | None


def _rule(case: _Case, given: _Vectors) -> _Rule:
    """Return by which rule what is left out of the vectors is filled in."""
    is_left = given.per is None and given.reduce is None
    by_layer = is_left and case.project == "update" and case.relative is not False
    if by_layer and case.maps:
        return "positions"
    if by_layer and not case.beside_adapters:
        return "layers"
    by_means = case.is_plain and case.encode and not case.convolves
    if (
        (case.project, case.normalize, case.relative) == BY_SQUARES
        and is_left
        and given.curvature in (None, "floored")
        and not (by_means or case.beside_adapters)
    ):
        return "squares"
    return "samples"


def _filled_in(given: _Vectors, rule: _Rule) -> _Vectors:
    if rule == "positions":
        return given._replace(per="position", reduce="mean")
    if rule == "squares":
        return _Vectors("sample", "rms", "floored")
    if rule == "layers":
        return given
    return given._replace(per=given.per or "sample", reduce=given.reduce or "mean")


def _fades(case: _Case, vectors: _Vectors) -> bool:
    """Whether the scale of the vectors is any, or fades as samples are fitted."""
    is_loose = not case.is_plain or (case.convolves and case.encode)
    return is_loose and (vectors.per, vectors.reduce) == ("sample", "mean")


def _measured(
    case: _Case, rule: _Rule, vectors: _Vectors, *, relative: bool
) -> Damping:
    """Return the damping that was measured for the rest."""
    if rule == "squares" and not case.is_plain:
        return LIMITED_DAMPING
    if rule == "positions":
        return MAP_DAMPING
    if vectors.per is None or vectors.reduce is None:
        return UPDATE_DAMPING
    if relative:
        return RELATIVE_DAMPING
    return measured_damping(
        vectors.per,
        vectors.reduce,
        encode=case.encode,
        scaled=case.normalize != "none",
        floored=vectors.curvature == "floored",
    )


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
