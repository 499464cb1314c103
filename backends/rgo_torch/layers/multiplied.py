"""Matrices of a module that nobody told of: which axes its code multiplies over.

A parameter of an unknown class would act entry by entry, as far as RGO can tell. What
its class is written to multiply by, ``x @ self.matrix`` or ``F.linear(x,
self.weight)``, has inputs and outputs, and its source says which are which.
"""

import ast
import inspect
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache

from torch import Tensor, nn

from rgo_core import Axes
from rgo_torch.layers.einsum import Term, axes_of_term
from rgo_torch.layers.layer import Channels
from rgo_torch.layers.products import Products, Use

UNREAD = frozenset({"__init__", "reset_parameters", "extra_repr"})


def multiplied_axes(
    module: nn.Module,
    own: Mapping[str, Tensor],
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
    return {name: axes for name, (_, axes) in _multiplied(module, own, known).items()}


def read_channels(module: nn.Module, own: Mapping[str, Tensor]) -> Channels | None:
    """Return the channels of what a class is written to give out, where a product does.

    Those of the matrix that its forward uses last, if no part of the module that has a
    matrix comes after it.

    Parameters
    ----------
    module, own
        As for `multiplied_axes`.
    """
    found = _multiplied(module, own, nn.Module)
    parts = {
        name
        for name, part in module.named_children()
        if any(p.ndim > 1 for p in part.parameters())
    }
    names = {name.split(".")[0] for name in found} | parts
    last = next(reversed(used_by_forward(module, names)), None)
    name = next((n for n in reversed(found) if n.split(".")[0] == last), None)
    if name is None:
        return None
    use, axes = found[name]
    axis = _channel_axis(use, own[name].ndim)
    if axis is None or len(axes.outputs) != 1:
        return None
    return Channels(own[name].shape[axes.outputs[0]], axis)


def used_by_forward(module: nn.Module, names: Collection[str]) -> list[str]:
    """Return which of `names` a forward calls ``self.name``, in order, none where lost.

    Parameters
    ----------
    module : nn.Module
    names : collection of str
    """
    kind: type = type(module)
    for method in methods(kind):
        if method.name == "forward":
            return [name for name in _named(method) if name in names]
    return []


def _multiplied(
    module: nn.Module, own: Mapping[str, Tensor], known: type
) -> dict[str, tuple[Use, Axes]]:
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
            found[name] = use, axes
    return found


def _channel_axis(use: Use, ndim: int) -> int | None:
    """Return where a product has its outputs; None of one from the left."""
    if isinstance(use.side, Term):
        letters, _, result = use.side
        outputs = [letter for letter in letters if letter in result]
        return result.index(outputs[-1]) - len(result) if outputs else None
    if use.side == "left":
        return None  # positions, nodes: what is mixed along another axis
    return 1 - ndim if use.side == "convolved" else -1


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
def added_names(kind: type) -> frozenset[str]:
    """Return what a class is written to add, and so entry by entry: ``x + self.name``.

    Parameters
    ----------
    kind : type
    """
    return frozenset(name for m in methods(kind) for name in Products(m).added)


@cache
def _uses(kind: type, known: type) -> Mapping[str, Use]:
    """Return how a class uses what it calls ``self.name``, the outermost use first."""
    found: dict[str, Use] = {}
    for method in methods(kind, known):
        for name, use in Products(method).found.items():
            found.setdefault(name, use)
    return found


@cache
def methods(kind: type, known: type = nn.Module) -> Sequence[ast.FunctionDef]:
    """Return the methods of a class that has source, and of those that it is made of.

    Parameters
    ----------
    kind : type
    known : type
        Where to stop.
    """
    written: list[ast.FunctionDef] = []
    for each in kind.__mro__[: kind.__mro__.index(known)]:
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(each)))
        except (OSError, TypeError, SyntaxError):
            continue  # typed at a prompt, compiled, or made by a program
        found = getattr(tree.body[0], "body", ())
        own = [method for method in found if isinstance(method, ast.FunctionDef)]
        written += (m for m in own if m.args.args and m.name not in UNREAD)
    return written


@cache
def calls_one_of(kind: type, known: type, functions: frozenset[str]) -> bool:
    """Tell whether a class's forward is written to call one of these by its name.

    Parameters
    ----------
    kind, known : type
        The forward of `kind`, or of a class between it and `known`.
    functions : frozenset of str
    """
    forward = next((m for m in methods(kind, known) if m.name == "forward"), None)
    calls = (n.func for n in ast.walk(forward or ast.Pass()) if isinstance(n, ast.Call))
    names = {getattr(f, "attr", getattr(f, "id", "")) for f in calls}
    return not names.isdisjoint(functions)


def _named(method: ast.FunctionDef) -> Iterator[str]:
    """Yield what it calls ``self.name``, in the order in which it comes to an end.

    A call of a part ends after its arguments: ``self.head(x @ self.matrix)``.
    """
    first = method.args.args[0].arg
    found = []
    for node in ast.walk(method):
        part = node.func if isinstance(node, ast.Call) else node
        if isinstance(part, ast.Attribute) and getattr(part.value, "id", "") == first:
            found.append((_end(node), part.attr))
    # The name in a call is found once more by itself, before its arguments.
    yield from (name for _, name in sorted(found))


def _end(node: ast.AST) -> tuple[int, int]:
    return getattr(node, "end_lineno", 0), getattr(node, "end_col_offset", 0)
