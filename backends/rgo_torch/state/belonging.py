"""To what the second moments of a state belong: places of encoding, and axes.

Plain numbers and strings alone: a tuple would come back from JSON as a list.
"""

from collections.abc import Collection, Mapping
from typing import Any

from torch import nn

from rgo_core import Axes
from rgo_torch.distributed.agreement import apart
from rgo_torch.encoder.feature_encoder import FeatureEncoder
from rgo_torch.encoding.hooks import EncodeAttended
from rgo_torch.modules.torch_private import forward_hooks
from rgo_torch.modules.wrappers import named_modules
from rgo_torch.parameters.parameter import ProjectedParameter


def told_encoding(encoder: FeatureEncoder, model: nn.Module) -> dict[str, Any]:
    """Return what is permuted where, along which axis, and drawn by which name.

    That is at a module's "input", its "output" or "both", or a "module" of itself.
    """
    attended = {
        name
        for name, module in named_modules(model)
        for hooks in forward_hooks(module)
        if any(isinstance(hook, EncodeAttended) for hook in hooks.values())
    }
    every = encoder.encodings.items()
    at = {name: encoder.places.get(name, "module") for name, _ in every}
    found: dict[str, Any] = {
        "seed": encoder.seed,
        "widths": {name: int(each.width) for name, each in every},
        "at": at | dict.fromkeys(attended & at.keys(), "both"),
        "axes": {name: int(each.axis) for name, each in every},
        "drawn_by": {
            name: name if each.name is None else each.name for name, each in every
        },
    }
    return found | ({"shared": dict(encoder.shared)} if encoder.shared else {})


def told_axes(parameters: Mapping[str, ProjectedParameter]) -> dict[str, str]:
    """Return the axes that each parameter's second moment is of, as one writes them."""
    return {name: _written(parameter.axes) for name, parameter in parameters.items()}


def check_encoding(
    found: Mapping[str, Any] | None, expected: Mapping[str, Any] | None
) -> None:
    """Raise ValueError unless a state's encoding is this, as far as it tells."""
    if isinstance(found, Mapping) and expected is not None:
        # Of 0.1.0 it tells the first two; what is empty may not have been kept.
        found = {"seed": None, "widths": {}, "shared": {}} | dict(found)
        here = {"shared": {}} | dict(expected)
        expected = {key: here.get(key) for key in found}
        found, expected = apart(found, expected), apart(expected, found)
    if found != expected:
        raise ValueError(
            f"the state's encoding is not this one's: expected {expected}, got {found}"
            f"{_remedy(found, expected)}"
        )


def _remedy(found: Any, expected: Any) -> str:
    """Return what to do where more is encoded here, as of a head that is no longer."""
    if not (isinstance(found, Mapping) and isinstance(expected, Mapping)):
        return ""
    widths = [told.get("widths") or {} for told in (expected, found)]
    more = sorted(widths[0].keys() - widths[1].keys())
    if not more:
        return ""
    return (
        f"; more is encoded here, {more}: leave it in order too, by naming it and the "
        "head in unencoded= (all but the last layer are encoded by default)"
    )


def check_axes(
    found: Mapping[str, str], expected: Mapping[str, str], grown: Collection[str]
) -> None:
    """Raise ValueError unless a state's second moments are of these axes.

    Those of parameters that have grown may be seen in another shape.
    """
    for name, axes in expected.items():
        if name not in grown and found.get(name, axes) != axes:
            raise ValueError(
                f"{name}: expected a second moment of {axes}, got one of {found[name]} "
                "in the state; make the RGO with that in layout="
            )


def _written(axes: Axes) -> str:
    told = {
        key: tuple(map(int, value)) if isinstance(value, tuple | list) else value
        for key, value in axes._asdict().items()
        if value
    }
    return f"Axes({', '.join(f'{key}={value}' for key, value in told.items())})"
