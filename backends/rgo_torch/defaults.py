"""What options of RGO are where they are left out: one depends on another."""

from collections.abc import Sequence
from typing import NamedTuple

from torch.optim import Optimizer

from rgo_core._checks import check_choice, check_positive
from rgo_core.curvature import Curvature
from rgo_core.vectors import PERS, REDUCES, Per, Reduce
from rgo_torch.damping import RELATIVE_DAMPING, UPDATE_DAMPING, measured_damping
from rgo_torch.optimizers import ADAPTIVE, Project
from rgo_torch.projector import Scaling


class Chosen(NamedTuple):
    """The options, none left out; `per` and `reduce` may be left to each layer."""

    project: Project
    per: Per | None
    reduce: Reduce | None
    damping: float
    relative: bool
    weights: Scaling | None
    notes: list[str]  # for the summary


def choose(
    optimizers: Sequence[Optimizer],
    *,
    beside_adapters: bool,
    encode: bool,
    curvature: Curvature,
    project: Project | None,
    per: Per | None,
    reduce: Reduce | None,
    damping: float | None,
    relative: bool | None,
    weights: Scaling | None,
) -> Chosen:
    """Return what is to be done, for the options of `RGO`.

    Raises
    ------
    ValueError
        If an option is not one of those listed, or two do not go together.
    """
    if damping is not None:
        check_positive("damping", damping)
    check_choice("relative", relative, (None, True, False))
    check_choice("encode", encode, (True, False))
    check_choice("per", per, (None, *PERS))
    check_choice("reduce", reduce, (None, *REDUCES))
    check_choice("curvature", curvature, ("ground-truth", "exact"))
    if project is not None:
        check_choice("project", project, ("gradient", "update"))
    adapts = [type(o).__name__ for o in optimizers if isinstance(o, ADAPTIVE)]
    notes = [f"the update is projected, not the gradient: {n} adapts" for n in adapts]
    by_default = project is None and bool(adapts)
    if project is None:
        project = "update" if adapts else "gradient"
    left = per is None and reduce is None and project == "update"
    if not left or beside_adapters or relative is False:
        per, reduce = per or "sample", reduce or "mean"
    cancels = curvature == "exact" and reduce == "mean"
    if relative is None:
        relative = project == "update" and damping is None and not cancels
    if cancels and relative:
        raise ValueError(
            "curvature='exact' with reduce='mean' leaves the last layer a curvature of "
            "rounding alone, which relative=True would take for its scale; use "
            "reduce='rms' or an absolute damping"
        )
    if damping is None:
        damping = _measured(per, reduce, encode=encode, relative=relative)
    if weights is None and beside_adapters:
        # The rank space has so few directions that a task or two would close them all.
        weights = "normalized"
    return Chosen(
        project,
        per,
        reduce,
        float(damping),
        relative,
        weights,
        notes if by_default else [],
    )


def _measured(
    per: Per | None, reduce: Reduce | None, *, encode: bool, relative: bool
) -> float:
    """Return the damping that was measured for the rest."""
    if per is None or reduce is None:
        return UPDATE_DAMPING
    if relative:
        return RELATIVE_DAMPING
    return measured_damping(per, reduce, encode=encode)
