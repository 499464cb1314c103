"""The forms in which a parameter's second moment and projection are kept."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from array_api_compat import torch as xp
from torch import Tensor

import rgo_core
from rgo_core import DiagonalProjection, LowRankProjection
from rgo_core._checks import is_finite
from rgo_torch.parameters.parameter import Moment, ProjectedParameter, Projection


def empty_moment(parameter: ProjectedParameter) -> Moment:
    """Return the second moment of nothing, in the parameter's form."""
    options: dict[str, Any] = {
        "groups": parameter.groups,
        "device": parameter.moment_device,
        "xp": xp,
    }
    n = parameter.features
    if parameter.form == "diagonal":
        return rgo_core.empty_diagonal(n, **options)
    if parameter.form == "sketch":
        return rgo_core.empty_sketch(n, parameter.bound.rows, **options)
    return rgo_core.empty_moment(n, **options)


def empty_projection(parameter: ProjectedParameter) -> Projection:
    """Return memory for a projection, of any content."""
    make, shapes = projection_form(parameter)
    return make(*_filled(parameter, shapes.values(), torch.empty))


def fresh_parts(parameter: ProjectedParameter) -> dict[str, Tensor]:
    """Return the parts of a state of which nothing was observed yet."""
    kind, shapes = projection_form(parameter)
    parts = dict(
        zip(shapes, _filled(parameter, shapes.values(), torch.ones), strict=True)
    )
    if kind is LowRankProjection:
        parts["projection.factor"].zero_()
    elif parameter.form == "full":
        parts["projection"].zero_().diagonal(dim1=-2, dim2=-1).fill_(1)
    return {**empty_moment(parameter)._asdict(), **parts}


def _filled(
    parameter: ProjectedParameter,
    shapes: Iterable[tuple[int, ...]],
    fill: Callable[..., Tensor],
) -> list[Tensor]:
    """Return tensors where the parameter's projection is kept, as it is."""
    dtype, device = parameter.projection_dtype, parameter.tensor.device
    return [fill(shape, dtype=dtype, device=device) for shape in shapes]


def kept(parameter: ProjectedParameter, projection: Projection) -> Projection:
    """Return a new projection as it is kept: placed, and by rows.

    What lies otherwise in memory is multiplied in another order, and a file need
    not tell how it lay.
    """
    placed = parameter.placed(projection)
    if isinstance(placed, Tensor):
        # P^T is P, and what a Cholesky inverse makes lies by columns.
        return placed if placed.is_contiguous() else placed.mT.contiguous()
    return type(placed)(*(part.contiguous() for part in placed))


def placed_moment(parameter: ProjectedParameter, moment: Moment) -> Moment:
    """Check a second moment, and return it where the parameter's is kept."""
    expected = empty_moment(parameter)
    if type(moment) is not type(expected):
        raise TypeError(
            f"{parameter.name}: expected a {type(expected).__name__}, "
            f"got a {type(moment).__name__}"
        )
    shapes = {key: tuple(part.shape) for key, part in expected._asdict().items()}
    parts = moment._asdict()
    for key, part in parts.items():
        if not isinstance(part, Tensor):
            raise TypeError(
                f"{parameter.name}: expected a {key} that is a tensor, got a "
                f"{type(part).__name__}"
            )
        if part.is_floating_point() and part.dtype != torch.float64:
            raise TypeError(
                f"{parameter.name}: expected a {key} in float64, got {part.dtype}: "
                "what was rounded does not come back"
            )
    check_parts(parameter, parts, shapes)
    placed: Any = (part.to(parameter.moment_device).contiguous() for part in moment)
    return type(moment)(*placed)


def projection_form(
    parameter: ProjectedParameter,
) -> tuple[Callable[..., Projection], dict[str, tuple[int, ...]]]:
    """Return what makes a projection of the parameter's form, and its shapes."""
    groups, n = parameter.groups, parameter.features
    if parameter.form == "full":
        return (lambda matrix: matrix), {"projection": (*groups, n, n)}
    if parameter.form == "diagonal":
        return DiagonalProjection, {"projection.diagonal": (*groups, n)}
    factor = (*groups, parameter.bound.rows, n)
    shapes = {"projection.factor": factor, "projection.scale": groups}
    return LowRankProjection, shapes


def check_parts(
    parameter: ProjectedParameter,
    parts: Mapping[str, Tensor],
    expected: Mapping[str, tuple[int, ...]],
) -> None:
    """Raise ValueError unless tensors have the shapes expected, and are finite."""
    for key, tensor in parts.items():
        shape = expected[key]
        if tuple(tensor.shape) != shape:
            raise ValueError(
                f"{parameter.name}: expected a {key} of shape {shape}, "
                f"got {tuple(tensor.shape)}"
            )
        if not is_finite(tensor, xp):
            raise ValueError(
                f"{parameter.name}: expected a {key} of finite numbers, got NaN or inf"
            )


def projection_parts(projection: Projection) -> dict[str, Tensor]:
    """Return the tensors of a projection by the names that a state has for them."""
    if isinstance(projection, Tensor):
        return {"projection": projection}
    return {f"projection.{key}": part for key, part in projection._asdict().items()}
