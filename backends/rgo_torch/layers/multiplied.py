"""Matrices of a module that nobody told of: which axes its code multiplies over.

A parameter of an unknown class would act entry by entry, as far as RGO can tell. What
its class is written to multiply by, ``x @ self.matrix`` or ``F.linear(x,
self.weight)``, has inputs and outputs, and its source says which are which.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache

from torch import nn

from rgo_core import Axes
from rgo_torch.layers.einsum import Term, axes_of_term
from rgo_torch.layers.products import Products, Use

UNREAD = frozenset({"__init__", "reset_parameters", "extra_repr"})


def multiplied_axes(
    module: nn.Module,
    own: Mapping[str, nn.Parameter],
    known: type = nn.Module,
) -> dict[str, Axes]:
    """Return the axes of the matrices that a module's class is written to multiply by.

    Parameters
    ----------
    module : nn.Module
        Of a class with Python source; of another nothing is found.
    own : mapping of str to Parameter
        Its parameters, and those of its lists of parameters, ``"matrices.0"``.
    known : type
        A class of the module's that need not be read, with those that it is made of.

    Returns
    -------
    dict of str to Axes
        By name, of those that have two axes or more.
    """
    matrices = {name: p.ndim for name, p in own.items() if p.ndim > 1}
    kind: type = type(module)
    uses = _uses(kind, known) if matrices else {}
    found = {}
    for name, ndim in matrices.items():
        whole, *listed = name.split(".")
        use = uses.get(whole)
        if use is None or (use.factor.is_part and ndim == 2 and not listed):
            continue  # rows are looked up in it
        axes = _axes(use, ndim)
        if axes is not None:
            found[name] = axes
    return found


def _axes(use: Use, ndim: int) -> Axes | None:
    """Return the axes of a parameter with that many; of more than two some are groups.

    None where its use asks for another number of axes.
    """
    last, before = ndim - 1, ndim - 2
    flipped = use.factor.flipped
    if isinstance(use.side, Term):
        return None if flipped else axes_of_term(use.side, ndim)
    if use.side == "convolved":
        return Axes(outputs=(0,), inputs=tuple(range(1, ndim))) if ndim > 2 else None
    outputs_first = (use.side in ("linear", "left")) != flipped
    outputs, inputs = (before, last) if outputs_first else (last, before)
    return Axes(groups=tuple(range(before)), outputs=(outputs,), inputs=(inputs,))


@cache
def _uses(kind: type, known: type) -> Mapping[str, Use]:
    """Return how a class uses what it calls ``self.name``, the outermost use first."""
    found: dict[str, Use] = {}
    for method in methods(kind, known):
        for name, use in Products(method).found.items():
            found.setdefault(name, use)
    return found


def methods(kind: type, known: type = nn.Module) -> Iterator[ast.FunctionDef]:
    """Yield the methods of a class that has source, and of those that it is made of.

    Parameters
    ----------
    kind : type
    known : type
        Where to stop.
    """
    for each in kind.__mro__[: kind.__mro__.index(known)]:
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(each)))
        except (OSError, TypeError, SyntaxError):
            continue  # typed at a prompt, compiled, or made by a program
        found = getattr(tree.body[0], "body", ())
        own = [method for method in found if isinstance(method, ast.FunctionDef)]
        yield from (m for m in own if m.args.args and m.name not in UNREAD)
