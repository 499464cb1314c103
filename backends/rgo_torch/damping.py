"""The dampings that were measured."""

from collections.abc import Mapping

from rgo_core._checks import check_choice
from rgo_core.vectors import PERS, REDUCES, Per, Reduce

# What was measured on permuted and rotated MNIST, by (per, reduce, encode).
MEASURED_DAMPING: Mapping[tuple[Per, Reduce, bool], float] = {
    ("sample", "mean", True): 0.03,
    ("sample", "mean", False): 0.01,
    ("sample", "rms", True): 1.0,
    ("sample", "rms", False): 1.0,
    ("batch", "mean", True): 0.01,
    ("batch", "mean", False): 0.01,
}
# In units of the mean of H's diagonal, whatever the vectors.
RELATIVE_DAMPING = 0.03
# The same, where the updates of an adaptive optimizer are projected.
UPDATE_DAMPING = 0.3


def measured_damping(per: Per, reduce: Reduce, *, encode: bool = True) -> float:
    """Return the damping that was measured best for a kind of curvature vectors.

    Parameters
    ----------
    per : {"sample", "batch", "position"}
    reduce : {"mean", "rms", "signs"}
    encode : bool
        Whether features are encoded: where they are not, tasks disturb each other more.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If an option is not one of those listed, or no damping was measured for them.

    Examples
    --------
    >>> import rgo_torch
    >>> rgo_torch.measured_damping("sample", "mean")
    0.03
    """
    check_choice("per", per, PERS)
    check_choice("reduce", reduce, REDUCES)
    if (per, reduce, encode) not in MEASURED_DAMPING:
        raise ValueError(
            f"damping must be given for per={per!r}, reduce={reduce!r}, "
            f"encode={encode!r}: none was measured"
        )
    return MEASURED_DAMPING[per, reduce, encode]
