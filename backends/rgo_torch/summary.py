"""What RGO does to each part of a model, and what it costs, as a table."""

from collections.abc import Iterable, Mapping

from rgo_core._checks import few_names
from rgo_torch.encoder.feature_encoder import FeatureEncoder
from rgo_torch.encoding.hooks import is_uncalled
from rgo_torch.layers.skipped import FROZEN
from rgo_torch.parameters.parameter import ProjectedParameter
from rgo_torch.projecting.projector import GradientProjector

# With less of a step free, half of what was learned first was lost after five tasks:
# `docs/plasticity.md`.
LITTLE = 0.01


def summarize(
    projector: GradientProjector,
    encoder: FeatureEncoder | None,
    notes: Iterable[str],
    free: Mapping[str, float] | None = None,
) -> str:
    """Return the table of `RGO.summary`, with notes on what was chosen.

    A row for each projected parameter, with the columns that `RGO.summary` describes;
    then the parameters that are passed through, with the reason.
    """
    counted = [
        0 if name in projector.shared else parameter.state_bytes
        for name, parameter in projector.parameters.items()
    ]
    lines = [_headline(projector)]
    lines += _aligned(_rows(projector, encoder, counted, free))
    total = _readable(sum(counted))
    lines.append(f"{total} of state: float64 second moments and projections")
    lines += notes
    own = {layer.name for p in projector.parameters.values() for layer, _ in p.uses}
    widths = {} if encoder is None else encoder.widths
    lines += [f"encoded: {name} ({w})" for name, w in widths.items() if name not in own]
    lines += _without_room(projector, free or {})
    lines += _never_observed(projector) if free else []
    return "\n".join(lines + _passed_through(projector))


def _rows(
    projector: GradientProjector,
    encoder: FeatureEncoder | None,
    counted: Iterable[int],
    free: Mapping[str, float] | None,
) -> list[tuple[str, ...]]:
    """Return the head, and a row for each projected parameter with its bytes."""
    last = ("free",) if free else ()
    rows = [("parameter", "n", "outputs", "kept", "encoded", "state", *last)]
    for (name, parameter), size in zip(
        projector.parameters.items(), counted, strict=True
    ):
        widths = str(parameter.features), str(parameter.outputs)
        kept = "shared" if name in projector.shared else parameter.form
        told = (name, *widths, kept, _encoded(parameter, encoder), _readable(size))
        rows.append((*told, _percent(free.get(name))) if free else told)
    return rows


def _passed_through(projector: GradientProjector) -> list[str]:
    """Return a line for what is not projected and why, and for what is frozen now."""
    frozen = [name for name, reason in projector.unprotected if reason == FROZEN]
    lines = [f"not projected: {len(frozen)} parameters: {FROZEN}"] if frozen else []
    lines += [
        f"not projected: {name}: {reason}"
        for name, reason in projector.unprotected
        if reason != FROZEN
    ]
    lines += [
        f"frozen now: {name}"
        for name, parameter in projector.parameters.items()
        if not parameter.held.requires_grad
    ]
    return lines


def _without_room(projector: GradientProjector, free: Mapping[str, float]) -> list[str]:
    """Return a line for each weight that is all but closed, and what may be done.

    Biases close first, and the rank space of adapters always; neither says that there
    is no room for another task.
    """
    if any(reason == FROZEN for _, reason in projector.unprotected):
        return []
    return [
        f"no room: {name}: {_percent(free[name])} of a step is free: see whether old "
        "tasks fade; if so raise damping, make the layer before it wider, or protect "
        "less"
        for name, parameter in projector.parameters.items()
        if not parameter.is_vector and free.get(name, 1.0) < LITTLE
    ]


def _never_observed(projector: GradientProjector) -> list[str]:
    """Return a line for what no task has protected yet, as heads of tasks to come."""
    names = [
        name
        for name, parameter in projector.observed.items()
        if name not in projector.projections and parameter.held.requires_grad
    ]
    line = f"not observed yet, by no score of an ended task: {few_names(names)}"
    return [line] if names else []


def _headline(projector: GradientProjector) -> str:
    share, of = projector.protected_share, "of the parameters are protected"
    trained = projector.trained_share
    beside = any(reason == FROZEN for _, reason in projector.unprotected)
    if beside or share < trained == 1:  # the rest is frozen
        share, of = trained, "of what is trained is protected"
    return f"{100 * share:.1f} % {of}"


def _encoded(parameter: ProjectedParameter, encoder: FeatureEncoder | None) -> str:
    layer, _ = parameter.uses[0]
    if encoder is None or parameter.is_vector or layer.name not in encoder.widths:
        return ""
    if is_uncalled(layer.module):
        return ""
    return "inputs" if encoder.places.get(layer.name) == "input" else "yes"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _readable(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
