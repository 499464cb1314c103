"""Which projections are scaled to trace n."""

from typing import Final, Literal

from rgo_core._checks import check_choice
from rgo_core.damping import warn_renamed

Normalize = Literal["weights", "all", "none"]
NORMALIZE: Final = ("weights", "all", "none")
# What to write in place of the option that 0.1.0 had.
NEW_BIASES: Final = "normalize='all' or 'weights'"


def with_biases(
    normalize: Normalize | None, biases: str | None, *, stacklevel: int
) -> Normalize | None:
    """Return `normalize`, with what 0.1.0 had for it taken in.

    Raises
    ------
    TypeError
        If both are given.
    ValueError
        If `biases` is neither "raw" nor "normalized".

    Warns
    -----
    DeprecationWarning
        If `biases` is given.
    """
    if biases is None:
        return normalize
    if normalize is not None:
        raise TypeError("biases is the old name of normalize: give the new one alone")
    check_choice("biases", biases, ("raw", "normalized"))
    warn_renamed("biases", NEW_BIASES, stacklevel=stacklevel + 1)
    return "all" if biases == "normalized" else None
