"""Which part of a table of the paper is run."""

from collections.abc import Iterable
from typing import Final

SEEDS: Final = range(5)  # the paper's


def chosen(
    option: str, asked: Iterable[str] | None, known: Iterable[str]
) -> tuple[str, ...]:
    """Return the names asked for, or all that are known where None.

    Parameters
    ----------
    option : str
        What ``--`` stands before on the command line.
    asked : iterable of str, optional
    known : iterable of str

    Returns
    -------
    tuple of str
        Each once, in the order in which they are known.

    Raises
    ------
    ValueError
        If a name is not known.

    Examples
    --------
    >>> chosen("stream", ["b"], ["a", "b"]), chosen("stream", None, ["a", "b"])
    (('b',), ('a', 'b'))
    """
    names = tuple(dict.fromkeys(known))
    wanted = names if asked is None else tuple(asked)
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise ValueError(
            f"--{option}: expected one of {', '.join(names)}, got {', '.join(unknown)}"
        )
    return tuple(name for name in names if name in wanted)
