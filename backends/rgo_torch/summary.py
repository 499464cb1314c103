"""What RGO does to each part of a model, and what it costs, as a table."""

from rgo_torch.encoder import FeatureEncoder
from rgo_torch.projector import GradientProjector


def summarize(projector: GradientProjector, encoder: FeatureEncoder | None) -> str:
    """Return the table of `RGO.summary`.

    A row for each projected parameter: n, how many outputs share its projection,
    whether its layer's outputs are permuted, and the memory of its state; then the
    modules that are passed through, with the reason.
    """
    encoded = {} if encoder is None else encoder.widths
    rows: list[tuple[str, ...]] = [
        ("parameter", "n", "outputs", "kept", "encoded", "state")
    ]
    total = 0
    for name, parameter in projector.parameters.items():
        total += parameter.state_bytes
        layer, _ = parameter.uses[0]
        rows.append(
            (
                name,
                str(parameter.features),
                str(parameter.outputs),
                parameter.form,
                "yes" if layer.name in encoded and not parameter.is_vector else "",
                _readable(parameter.state_bytes),
            )
        )
    lines = [f"{100 * projector.protected_share:.1f} % of the parameters are protected"]
    lines += _aligned(rows)
    lines.append(f"{_readable(total)} of state: float64 second moments and projections")
    own = {layer.name for p in projector.parameters.values() for layer, _ in p.uses}
    lines += [
        f"encoded: {name} ({w})" for name, w in encoded.items() if name not in own
    ]
    lines += [f"not projected: {name}: {reason}" for name, reason in projector.skipped]
    lines += [
        f"frozen now: {name}"
        for name, parameter in projector.parameters.items()
        if not parameter.tensor.requires_grad
    ]
    return "\n".join(lines)


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
