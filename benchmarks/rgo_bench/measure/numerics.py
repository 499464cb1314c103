"""How far each form of P strays from the truth: why the state is a sum in float64."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rgo_core import consolidate, empty_moment, observe

Matrix = NDArray[np.floating[Any]]
Form = Callable[[Matrix], Matrix]  # from vectors, a row each, to P

DAMPING = 1.0
BLOCK = 32


class FormError(NamedTuple):
    """One form of P on one kind of curvature vectors."""

    form: str
    vectors: str
    error: float | None  # relative, Frobenius; None where there is no result
    positive_definite: bool


def measure_errors(
    *, features: int = 256, vectors: int = 40960, seed: int = 0
) -> list[FormError]:
    """Compute the raw P of random float32 vectors in every form, against the truth.

    For each of `KINDS` each of `FORMS`, for n features and a damping of 1.
    """
    found = []
    for place, (kind, draw) in enumerate(KINDS.items()):
        random = np.random.default_rng((seed, place))
        rows = draw(random, vectors, features).astype(np.float32)
        truth = exact_projection(rows)
        for form, compute in FORMS.items():
            found.append(_compare(form, kind, compute, rows, truth))
    return found


def exact_projection(rows: Matrix) -> Matrix:
    """Return ``(I + sum g g^T / alpha)^-1`` from a singular value decomposition.

    That is ``V diag(1 / (1 + s^2 / alpha)) V^T`` of the vectors' singular values and
    directions, in float64: it squares no condition, and inverts no matrix.
    """
    triangle = np.linalg.qr(rows.astype(np.float64), mode="r")
    _, values, right = np.linalg.svd(triangle)
    closed = np.ones(rows.shape[1])
    closed[: len(values)] = 1 / (1 + values**2 / DAMPING)
    projection: Matrix = (right.T * closed) @ right
    return projection


def _compare(
    form: str, kind: str, compute: Form, rows: Matrix, truth: Matrix
) -> FormError:
    try:
        # What a broken recursion overflows in is part of the answer.
        with np.errstate(all="ignore"):
            P = np.asarray_chkfinite(compute(rows), dtype=np.float64)
    except (np.linalg.LinAlgError, ValueError):
        return FormError(form, kind, None, positive_definite=False)
    error = float(np.linalg.norm(P - truth) / np.linalg.norm(truth))
    # Rounding every entry to float32 alone moves no eigenvalue by more.
    slack = float(np.finfo(np.float32).eps) / 2 * np.linalg.norm(truth)
    lowest = np.linalg.eigvalsh((P + P.T) / 2)[0]
    return FormError(form, kind, error, positive_definite=bool(lowest > -slack))


def _recursion(rows: Matrix, change: Callable[[Matrix, np.float32], Matrix]) -> Matrix:
    P, damping = np.eye(rows.shape[1], dtype=np.float32), np.float32(DAMPING)
    for g in rows:
        k = P @ g
        P -= change(k, damping + g @ k)
    return P


def _block_woodbury(rows: Matrix) -> Matrix:
    P: Matrix = np.eye(rows.shape[1], dtype=np.float32)
    for start in range(0, len(rows), BLOCK):
        V = rows[start : start + BLOCK]
        K = V @ P
        inner = DAMPING * np.eye(len(V), dtype=np.float32) + V @ K.T
        P = P - K.T @ np.linalg.solve(inner, K)
        P = (P + P.T) / 2
    return P


def _information(rows: Matrix) -> Matrix:
    H = rows.T @ rows
    matrix = np.eye(len(H), dtype=np.float32) + H / np.float32(DAMPING)
    root = np.linalg.inv(np.linalg.cholesky(matrix))
    return root.T @ root


def _library(rows: Matrix) -> Matrix:
    moment = observe(empty_moment(rows.shape[1]), rows)
    P: Matrix = consolidate(moment, DAMPING, normalized=False, dtype=np.float32)
    return P


FORMS: dict[str, Form] = {
    "recursion as printed, float32": partial(
        _recursion, change=lambda k, s: np.outer(k, k) / s
    ),
    "P -= outer(P g / s, P g), float32": partial(
        _recursion, change=lambda k, s: np.outer(k / s, k)
    ),
    f"block Woodbury of {BLOCK}, float32": _block_woodbury,
    "H and inverse, float32": _information,
    "H and inverse, float64; P cast to float32": _library,
}


def _exponential(random: np.random.Generator, r: int, n: int) -> Matrix:
    return _spectral(random, r, 10.0 ** np.linspace(0, -6, n))


def _long(random: np.random.Generator, r: int, n: int) -> Matrix:
    rows = _exponential(random, r, n)
    scaled: Matrix = rows * (1e3 / np.sqrt(np.mean(np.sum(rows**2, axis=1))))
    return scaled


def _spectral(random: np.random.Generator, r: int, deviations: Matrix) -> Matrix:
    """Draw vectors of these deviations along random directions.

    Along the axes themselves H would be nearly diagonal, and any inverse accurate.
    """
    n = len(deviations)
    basis = np.linalg.qr(random.standard_normal((n, n)))[0]
    rows: Matrix = (random.standard_normal((r, n)) * deviations) @ basis.T
    return rows


# Normal vectors with standard deviations of 1; of 1 / i; from 1 down to 1e-6 along
# random directions; and these again with a root mean square norm of 1000.
KINDS: dict[str, Callable[[np.random.Generator, int, int], Matrix]] = {
    "gaussian": lambda random, r, n: random.standard_normal((r, n)),
    "power spectrum": lambda random, r, n: _spectral(
        random, r, 1 / np.arange(1, n + 1)
    ),
    "exponential spectrum": _exponential,
    "norms near 1e3, exponential": _long,
}
