"""Which layer gives out what the model does: the head, whose order must stay."""

import ast
from collections.abc import Iterator, Sequence

from rgo_torch.layers.layer import Layer
from rgo_torch.layers.multiplied import methods
from rgo_torch.layers.transformed import TransformedLayer


def last_layers(layers: Sequence[Layer]) -> list[str]:
    """Return the name of the last layer that can be encoded, where it is the head.

    It is not where a matrix comes after it that RGO does not encode: that of a later
    module, or of one that holds the layer, and whose code uses the matrix last.

    Parameters
    ----------
    layers : sequence of Layer
        Of a model, in its order.
    """
    places = [place for place, layer in enumerate(layers) if layer.channels]
    if not places:
        return []
    last = layers[places[-1]]
    unencoded = [layer for layer in layers if _has_matrices(layer)]
    is_followed = any(layer in layers[places[-1] :] for layer in unencoded)
    if is_followed or any(_comes_last(layer, last.name) for layer in unencoded):
        return []
    return [last.name]


def _has_matrices(layer: Layer) -> bool:
    """Whether it is of a class that RGO does not know, and has inputs and outputs."""
    unknown = type(layer) is TransformedLayer and layer.channels is None
    return unknown and bool(list(_matrices(layer)))


def _matrices(layer: Layer) -> Iterator[str]:
    for own, axes in layer.axes.items():
        if axes.outputs and not axes.diagonal:
            yield own.split(".")[0]


def _comes_last(holder: Layer, part: str) -> bool:
    """Whether a matrix of `holder` is used after a part of it that has this name."""
    prefix = f"{holder.name}." if holder.name else ""
    if not part.startswith(prefix):
        return False
    child, *_ = part.removeprefix(prefix).split(".")
    for method in methods(type(holder.module)):
        if method.name == "forward":
            matrices = set(_matrices(holder))
            named = [name for name in _named(method) if name in {child, *matrices}]
            return child in named and named[-1] != child
    return False


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
