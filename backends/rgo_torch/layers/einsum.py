"""The letters of an einsum: which axes of a parameter are inputs, and which outputs."""

import ast
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from rgo_core import Axes


class Term(NamedTuple):
    """The letters of a parameter, and where they stand else."""

    letters: str
    others: str  # of what is no parameter
    result: str


def terms(
    args: Sequence[ast.expr], is_foreign: Callable[[ast.expr], bool]
) -> Iterator[tuple[Term, ast.expr]]:
    """Yield the terms of an einsum's operands; of an equation that is written out.

    Parameters
    ----------
    args : sequence
        The equation and the operands.
    is_foreign : callable
        Whether an operand is not made of parameters alone.
    """
    text = args[0].value if args and isinstance(args[0], ast.Constant) else None
    if not isinstance(text, str) or "->" not in text:
        return
    operands = args[1:]
    given, result = text.replace(" ", "").split("->")
    letters = given.split(",")
    if len(letters) != len(operands):
        return
    pairs = list(zip(letters, operands, strict=True))
    others = "".join(term for term, operand in pairs if is_foreign(operand))
    for term, operand in pairs:
        yield Term(term, others, result), operand


def axes_of_term(term: Term, ndim: int) -> Axes | None:
    """Return the axes: what is summed over with other operands is an input.

    None where nothing is, or the letters are not as many as the axes.

    Examples
    --------
    >>> axes_of_term(Term("hnd", "ibh", "ibnd"), 3)[:2]
    ((0,), (1, 2))
    """
    letters, others, result = term
    if len(letters) != ndim or "." in letters or len(set(letters)) != ndim:
        return None
    axes = range(ndim)
    summed = [axis for axis in axes if letters[axis] not in result]
    # Where it meets parameters alone, all that is summed over.
    inputs = [axis for axis in summed if letters[axis] in others] or summed
    groups = [a for a in axes if letters[a] in others and letters[a] in result]
    outputs = [axis for axis in axes if axis not in (*inputs, *groups)]
    return Axes(tuple(inputs), tuple(outputs), tuple(groups)) if inputs else None
