"""The checks at the door of every public function: each names what it expected."""

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real

import numpy as np
from array_api_compat import is_jax_namespace

from rgo_core._namespace import device_of, is_traced
from rgo_core._typing import Array, Namespace

# Of many names, so many are told.
NAMED = 3


def few_names(names: Sequence[str]) -> str:
    """Return the first of some names, and how many more there are."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def check_floating(name: str, array: Array, xp: Namespace) -> None:
    """Raise TypeError unless `array` holds real floating-point numbers."""
    if not xp.isdtype(array.dtype, "real floating"):
        raise TypeError(
            f"{name} must be an array of real floating-point numbers, "
            f"got dtype {array.dtype}"
        )


def check_axes(name: str, array: Array, least: int, axes: str) -> None:
    """Raise ValueError unless `array` has at least `least` axes."""
    if array.ndim < least:
        raise ValueError(f"{name} must have shape {axes}, got {tuple(array.shape)}")


def check_square(name: str, array: Array) -> None:
    """Raise ValueError unless the last two axes of `array` are equally long."""
    if array.ndim < 2 or array.shape[-1] != array.shape[-2]:
        raise ValueError(
            f"{name} must have shape (..., n, n), got {tuple(array.shape)}"
        )


def check_features(name: str, array: Array, axis: int, features: int) -> None:
    """Raise ValueError unless `array` holds `features` features along `axis`."""
    if array.ndim < -axis or array.shape[axis] != features:
        raise ValueError(
            f"{name} must have n = {features} features along axis {axis}, "
            f"got shape {tuple(array.shape)}"
        )


def check_positive(name: str, value: object) -> None:
    """Raise ValueError unless `value` is a finite number greater than zero.

    NumPy's scalars are numbers, booleans and arrays are not.
    """
    if isinstance(value, bool) or not (
        isinstance(value, Real) and 0 < _as_float(value) < math.inf
    ):
        raise ValueError(f"{name} must be a finite number > 0, got {value!r}")


def _as_float(value: Real) -> float:
    try:
        return float(value)
    except OverflowError:  # of an integer beyond its range
        return math.inf


def check_share(name: str, value: object) -> None:
    """Raise ValueError unless `value` is a number in (0, 1]."""
    if isinstance(value, bool) or not (
        isinstance(value, Real) and 0 < _as_float(value) <= 1
    ):
        raise ValueError(f"{name} must be a number in (0, 1], got {value!r}")


def check_integer(name: str, value: object, least: int) -> None:
    """Raise ValueError unless `value` is an integer of at least `least`."""
    if isinstance(value, bool) or not (
        isinstance(value, int | np.integer) and value >= least
    ):
        raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices:
        listed = " or ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be {listed}, got {value!r}")


def check_finite(name: str, array: Array, xp: Namespace) -> None:
    """Raise ValueError where a concrete `array` holds NaN or infinity.

    Under a JAX transformation there are no values to look at, and the check passes.
    """
    if not is_finite(array, xp):
        bad = int(xp.sum(xp.astype(~xp.isfinite(array), xp.int32)))
        raise ValueError(
            f"{name} must be finite, got {bad} NaN or infinite entries "
            f"in an array of shape {tuple(array.shape)}"
        )


def is_finite(array: Array, xp: Namespace) -> bool:
    """Whether a concrete `array` holds neither NaN nor infinity; one traced may not."""
    # A sum is finite if all entries are, unless it overflows, and takes a 30th of the
    # time that looking at each of them does. JAX sums no float64 where it is off.
    if not is_jax_namespace(xp):
        with np.errstate(over="ignore", invalid="ignore"):
            if bool(xp.isfinite(xp.sum(array))):
                return True
    found = xp.all(xp.isfinite(array))
    # Within a compiled function what comes of a constant has no value either.
    return is_traced(found) or bool(found)


def check_symmetric(name: str, matrix: Array, xp: Namespace) -> None:
    """Raise ValueError where a concrete `matrix` is not symmetric up to rounding.

    By sums of its rows and columns, which needs no second matrix: an inverse by
    Cholesky would look at one half, and which one depends on the library. Plain sums
    would agree where what is not symmetric is balanced, as in a permutation.
    """
    if 0 in matrix.shape:
        return
    n = matrix.shape[-1]
    ranks = xp.arange(n, dtype=matrix.dtype, device=device_of(matrix))
    weights = (ranks + n) / (2 * n)
    sums = xp.abs(matrix @ weights - matrix.mT @ weights)
    apart = xp.max(sums, axis=-1)  # of each group: their scales may differ
    rounding = max(1e-8, 16 * float(xp.finfo(matrix.dtype).eps)) * n
    allowed = rounding * xp.max(xp.abs(xp.linalg.diagonal(matrix)), axis=-1)
    asymmetric = xp.any(apart > allowed)
    if not is_traced(asymmetric) and bool(asymmetric):
        raise ValueError(
            f"{name} must be symmetric, got one whose rows and columns differ by "
            f"{float(xp.max(apart)):.3g} in a weighted sum"
        )


def check_not_negative(name: str, array: Array, xp: Namespace) -> None:
    """Raise ValueError where a concrete `array` holds a number below zero."""
    below = xp.any(array < 0)
    if not is_traced(below) and bool(below):
        raise ValueError(f"{name} must be >= 0, got {float(xp.min(array)):.3g}")


def check_mapping(name: str, value: object) -> None:
    """Raise unless `value` is a mapping that is not empty: TypeError, or ValueError."""
    if not isinstance(value, Mapping):
        raise TypeError(
            f"{name} must be a mapping by parameter, got a {type(value).__name__}"
        )
    if not value:
        raise ValueError(f"{name} must be of at least one parameter, got none")


def check_seen(moments: Iterable[tuple[Array, ...]], xp: Namespace) -> None:
    """Raise ValueError where concrete second moments are all of nothing.

    Their last field counts vectors, and is not looked at: vectors of zeros close
    nothing.
    """
    for part in (part for moment in moments for part in moment[:-1]):
        seen = xp.any(part != 0)
        if is_traced(seen) or bool(seen):
            return
    raise ValueError(
        "second moments must be of at least one vector other than zero, got none: "
        "nothing would be protected; does the score depend on the parameters? Where "
        "every sample is fitted to rounding, p (1 - p) of its class is 0: "
        "curvature='floored' counts these too. For a loss whose second derivative is "
        "0, such as the absolute error, take the score of the squared error: the "
        "outputs themselves"
    )


def check_double(name: str, array: Array, xp: Namespace) -> None:
    """Raise TypeError unless `array` is float64, as all that is summed up must be."""
    if array.dtype != xp.float64:
        raise TypeError(
            f"{name} must be float64, got {array.dtype} on {device_of(array)}: "
            "enable it (jax.enable_x64) or keep the second moment in NumPy"
        )
