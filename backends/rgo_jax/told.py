"""What a layout is refused or warned of: parameters that nothing tells of."""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import rgo_core
from rgo_core import Axes
from rgo_core._written import written_axes
from rgo_jax.kinds import is_guessed, is_unnamed, readings


def warn_of_names(
    paths: Iterable[str],
    found: Mapping[str, Axes | str | None],
    leaves: Mapping[str, Any],
) -> None:
    """Warn of matrices that are taken to act entry by entry for want of a name."""
    unnamed = [
        path
        for path in sorted(paths)
        if isinstance(axes := found[path], Axes)
        and axes.diagonal
        and is_unnamed(path, tuple(leaves[path].shape))
    ]
    if unnamed:
        of_product, by_entry = written_axes(leaves[unnamed[0]].ndim)
        warnings.warn(
            f"{', '.join(unnamed)}: a name that tells nothing of inputs and outputs: "
            "kept entry by entry, which protects little of a matrix. Give its Axes, as "
            f"find_layout(params, {{{unnamed[0]!r}: {of_product}}}) for x @ w, or "
            f"{by_entry} where each acts alone",
            stacklevel=3,
        )


def warn_of_guesses(
    paths: Iterable[str],
    found: Mapping[str, Axes | str | None],
    leaves: Mapping[str, Any],
) -> None:
    """Warn of kernels that are taken to end in their outputs, and may begin so."""
    guessed = [
        path
        for path in sorted(paths)
        if isinstance(found[path], Axes)
        and is_guessed(path, leaves)
        and found[path] == readings(path, leaves)[0]
    ]
    if guessed:
        last, first = (_named([each]) for each in readings(guessed[0], leaves))
        shapes = {path: tuple(leaves[path].shape) for path in guessed}
        warnings.warn(
            f"{shapes}: taken for convolutions (sides..., in, out), and may be (out, "
            "in, sides...), as jax.lax.conv takes them by default, which would not be "
            "protected; say which, as find_layout(params, "
            f"{{{guessed[0]!r}: {first}}}) for these or {last} for those",
            stacklevel=3,
        )


def check_told(
    found: Mapping[str, Axes | str | None],
    overrides: Mapping[str, Axes | None],
    leaves: Mapping[str, Any],
) -> None:
    """Raise ValueError of kernels of which nothing tells inputs from outputs."""
    untold = {
        path: tuple(leaves[path].shape)
        for path, each in found.items()
        if each is None and path not in overrides
    }
    if untold:
        known = {path: _named(readings(path, leaves)) for path in untold}
        either = "".join(
            f"; {path} may be {each}" for path, each in known.items() if each
        )
        raise ValueError(
            "expected kernels whose names or biases tell inputs from outputs, got "
            f"{untold}{either}: give their Axes in overrides, as find_layout(params, "
            "{path: Axes(inputs=..., outputs=...)}), or the layout of the nnx.Module "
            "itself"
        )


def check_overrides(
    overrides: Mapping[str, Axes | None], leaves: Mapping[str, Any]
) -> None:
    """Raise of overrides that name no parameter, or whose axes do not fit it."""
    arrays = [path for path, leaf in leaves.items() if hasattr(leaf, "dtype")]
    unknown = sorted(set(overrides) - set(arrays))
    if unknown:
        raise ValueError(
            f"overrides must name parameters among {arrays}, got {unknown}"
        )
    for path, axes in overrides.items():
        if axes is not None and not isinstance(axes, Axes):
            raise TypeError(f"overrides[{path!r}] must be Axes or None, got {axes!r}")
        if axes is not None:
            rgo_core.check_axes_fit(path, axes, leaves[path].shape)


def _named(axes: Iterable[Axes]) -> str:
    """Return axes as they are written in overrides."""
    return " or ".join(
        f"Axes({each.inputs}, {each.outputs}, groups={each.groups})" for each in axes
    )
