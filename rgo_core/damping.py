"""How much curvature closes a direction: alpha, by itself or in units of H."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

from rgo_core._checks import check_choice, check_positive
from rgo_core._typing import Array, Namespace
from rgo_core.vectors import PERS, REDUCES, Per, Reduce


@dataclass(frozen=True)
class Relative:
    """A damping that counts in units of the mean of H's diagonal, ``trace(H) / n``.

    The scale of the curvature vectors differs between layers by orders of magnitude and
    fades as samples are fitted; it does not matter then. Of a table whose rows are
    looked up the mean is weighted by H, see `consolidate`.

    Parameters
    ----------
    share : float
        alpha over ``trace(H) / n``, > 0.
    most : float, optional
        An upper limit on alpha, > 0, in the unit of a squared curvature vector. Where H
        is large, or its diagonal has a few large entries, the mean alone would leave
        directions open in which the loss has curvature.

    Raises
    ------
    ValueError
        If `share` or `most` is not a finite number > 0.

    Examples
    --------
    >>> import numpy as np, rgo_core
    >>> moment = rgo_core.observe(rgo_core.empty_moment(2), np.asarray([[3.0, 0.0]]))
    >>> rgo_core.consolidate(moment, damping=rgo_core.Relative(0.5)).round(2)
    array([[0.33, 0.  ],
           [0.  , 1.67]])
    """

    share: float
    most: float | None = None

    def __post_init__(self) -> None:
        check_positive("share", self.share)
        if self.most is not None:
            check_positive("most", self.most)

    def __repr__(self) -> str:
        limit = "" if self.most is None else f", most={self.most}"
        return f"Relative(share={self.share}{limit})"


Damping = float | Relative


def alpha_of(damping: Damping, mean: Array, xp: Namespace) -> Array | float:
    """Return alpha for each mean of a diagonal of H; any number where H is zero."""
    if not isinstance(damping, Relative):
        return float(damping)  # a NumPy scalar would bring its dtype
    alpha = float(damping.share) * xp.where(mean > 0, mean, 1.0)
    if damping.most is None:
        return alpha
    most = float(damping.most)
    return xp.where(alpha < most, alpha, most)


# What to write in place of the flag that 0.1.0 had.
NEW_RELATIVE = "damping=rgo_core.Relative(...)"
# What was measured on permuted and rotated MNIST, by (per, reduce, encode).
MEASURED_DAMPING: Mapping[tuple[Per, Reduce, bool], float] = {
    ("sample", "mean", True): 0.03,
    ("sample", "mean", False): 0.01,
    ("sample", "rms", True): 1.0,
    ("sample", "rms", False): 1.0,
    ("batch", "mean", True): 0.01,
    ("batch", "mean", False): 0.01,
}
# The same, of projections that are not scaled to trace n, and where the curvature of
# what is fitted counts, "floored"; that of "rms", encoded, on LeNet-5. All are for a
# second moment of all of a task's samples, or one that is extrapolated to all.
UNSCALED_DAMPING: Mapping[tuple[Per, Reduce, bool], float] = {
    ("sample", "mean", True): 0.1,
}
FLOORED_DAMPING: Mapping[tuple[Per, Reduce, bool], float] = {
    ("sample", "mean", True): 0.3,
    ("sample", "rms", True): 15.0,
    ("sample", "rms", False): 0.3,
}
# Whatever the vectors, where gradients are projected.
RELATIVE_DAMPING = Relative(0.03)
# Of networks with normalisations, attention or recurrence, by the root mean square with
# a floor: measured on the models of the zoo.
LIMITED_DAMPING = Relative(0.03, most=0.1)
# Where the updates of an adaptive optimizer are projected.
UPDATE_DAMPING = Relative(0.3)
# The same of a fully convolutional network, by a vector for each position.
MAP_DAMPING = Relative(1.0)


def measured_damping(
    per: Per,
    reduce: Reduce,
    *,
    encode: bool = True,
    scaled: bool = True,
    floored: bool = False,
) -> float:
    """Return the damping that was measured best for a kind of curvature vectors.

    It is for a second moment of all of a task's samples, or one that stands for all
    (`extrapolate`): H is their sum, and grows with their number as the number of steps
    does that a task takes.

    Parameters
    ----------
    per : {"sample", "batch", "position"}
    reduce : {"mean", "rms", "signs", "uncancelled"}
    encode : bool
        Whether features are encoded: where they are not, tasks disturb each other more.
    scaled : bool
        Whether projections are scaled to trace n. Unscaled ones shorten a step more and
        so need more damping; where none was measured for them, that of scaled ones is
        returned.
    floored : bool
        Whether the curvature has a floor (``curvature="floored"``): of unscaled forms
        alone, with a vector a sample; without encoding of root mean squares.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If an option is not one of those listed, or no damping was measured for them.

    Examples
    --------
    >>> import rgo_core
    >>> rgo_core.measured_damping("sample", "mean")
    0.03
    >>> rgo_core.measured_damping("sample", "mean", encode=False)
    0.01
    >>> rgo_core.measured_damping("sample", "mean", scaled=False)
    0.1
    >>> rgo_core.measured_damping("sample", "mean", scaled=False, floored=True)
    0.3
    """
    check_choice("per", per, PERS)
    check_choice("reduce", reduce, REDUCES)
    if (per, reduce, encode) not in MEASURED_DAMPING:
        raise ValueError(
            f"damping must be given for per={per!r}, reduce={reduce!r}, "
            f"encode={encode!r}: none was measured"
        )
    vectors = per, reduce, encode
    if floored:
        if scaled or vectors not in FLOORED_DAMPING:
            raise ValueError(
                f"damping must be given for curvature='floored' with per={per!r}, "
                f"reduce={reduce!r}, encode={encode!r}, scaled={scaled!r}: none was "
                "measured"
            )
        return FLOORED_DAMPING[vectors]
    if not scaled and vectors in UNSCALED_DAMPING:
        return UNSCALED_DAMPING[vectors]
    return MEASURED_DAMPING[vectors]


def split_damping(damping: Damping) -> tuple[float, bool]:
    """Return a damping's number, and whether that is relative."""
    if isinstance(damping, Relative):
        return damping.share, True
    return damping, False


def flagged(damping: Damping, relative: bool) -> Damping:
    """Return the damping that 0.1.0 meant by a number and its flag.

    Raises
    ------
    TypeError
        If `damping` is `Relative` already.
    ValueError
        If `damping` is not a finite number > 0, or `relative` no bool.
    """
    check_choice("relative", relative, (True, False))
    if isinstance(damping, Relative):
        raise TypeError(
            f"relative is the old flag of damping: give {damping} alone, without it"
        )
    check_positive("damping", damping)
    return Relative(damping) if relative else damping


def with_flag(damping: Damping, relative: bool | None, *, stacklevel: int) -> Damping:
    """Return `damping`, with the flag of 0.1.0 taken in.

    Raises
    ------
    TypeError, ValueError
        As `flagged` does.

    Warns
    -----
    DeprecationWarning
        If the flag is given.
    """
    if relative is None:
        return damping
    damping = flagged(damping, relative)
    warn_renamed("relative", NEW_RELATIVE, stacklevel=stacklevel + 1)
    return damping


def warn_renamed(old: str, new: str, *, stacklevel: int) -> None:
    """Warn that an option has another name, where the user's own code gives it."""
    warnings.warn(
        f"{old}= is now {new}, and goes in the next release",
        DeprecationWarning,
        stacklevel=stacklevel + 1,
    )
