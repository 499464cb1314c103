"""Which axes the parameters of a layer have, by the layer's class.

Classes are there in the modules of Equinox and of Flax nnx.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from rgo_core import Axes
from rgo_jax.kinds import (
    BIASES,
    elementwise,
    outputs_first,
    outputs_last,
    transposed,
    vector,
)

LIBRARIES = ("equinox", "flax")

Rule = Callable[[Any, str, tuple[int, ...]], Axes | None]


def axes_by_class(
    node: Any, path: Callable[[tuple[Any, ...]], str], outer: tuple[Any, ...] = ()
) -> Iterator[tuple[str, Axes | None]]:
    """Yield the axes of the parameters of layers whose class is known, by path.

    None where the class alone could tell, and does not.
    """
    rule = _rule(node)
    inside = jax.tree_util.tree_leaves_with_path(
        node, is_leaf=lambda child: child is not node and _rule(child) is not None
    )
    for keys, child in inside:
        if _rule(child) is not None:
            yield from axes_by_class(child, path, (*outer, *keys))
        elif rule is not None and hasattr(child, "shape"):
            name = path((*outer, *keys)).split("/")[-1]
            shape = tuple(child.shape)
            is_told = _ends_as_told(node, name, shape)
            axes = rule(node, name, shape) if is_told else None
            # Of an einsum the name of its kernel says nothing.
            if axes is not None or rule is _einsum or not is_told:
                yield path((*outer, *keys)), axes


def _rule(node: Any) -> Rule | None:
    for kind in type(node).__mro__:
        if kind.__module__.split(".")[0] in LIBRARIES and kind.__name__ in RULES:
            return RULES[kind.__name__]
    return None


def _ends_as_told(layer: Any, name: str, shape: tuple[int, ...]) -> bool:
    """Whether the last axes of a parameter are those that its layer says it has.

    They are not where a map over layers has put its own behind them.
    """
    sizes = [getattr(layer, of, None) for of in ("in_features", "out_features")]
    told: Any = getattr(layer, "kernel_shape", None) if name == "kernel" else None
    if told is None and all(isinstance(size, int) for size in sizes):
        inputs, outputs = sizes
        ways = {"kernel": (inputs, outputs), "weight": (outputs, inputs)}
        told = ways.get(name, (outputs,) if name == "bias" else None)
    return told is None or shape[len(shape) - len(told) :] == tuple(told)


def _stacked(axes: Axes, shape: tuple[int, ...], rank: int) -> Axes | None:
    """Take for groups the axes that a map over layers has put before the others."""
    before = len(shape) - rank
    if before < 0:
        return None
    moved = [tuple(axis + before for axis in part) for part in axes[:3]]
    view = None if axes.shape is None else (*shape[:before], *axes.shape)
    groups = (*range(before), *moved[2])
    return Axes(moved[0], moved[1], groups, axes.diagonal, view)


def _linear(layer: Any, name: str, shape: tuple[int, ...]) -> Axes | None:
    if name in BIASES:
        return _stacked(vector(shape[-1:]), shape, 1)
    axes = Axes((1,), (0,)) if name == "weight" else Axes((0,), (1,))
    return _stacked(axes, shape, 2)


def _linear_general(layer: Any, name: str, shape: tuple[int, ...]) -> Axes | None:
    outputs = len(layer.out_features)
    rank = outputs if name == "bias" else outputs + len(layer.in_features)
    own = shape[len(shape) - rank :]
    axes = vector(own) if name == "bias" else outputs_last(own, outputs)
    return _stacked(axes, shape, rank)


def _einsum(layer: Any, name: str, shape: tuple[int, ...]) -> Axes | None:
    if name == "bias":
        rank = len(layer.bias_shape)
        return _stacked(vector(shape[len(shape) - rank :]), shape, rank)
    given, kernel, result = re.split(",|->", layer.einsum_str)
    if len(set(kernel)) < len(kernel) or not set(kernel) <= set(given + result):
        return None  # an ellipsis, a diagonal, or a sum that meets no input
    letters = list(enumerate(kernel))
    inputs = tuple(axis for axis, letter in letters if letter not in result)
    outputs = tuple(axis for axis, letter in letters if letter not in given)
    groups = tuple(axis for axis, _ in letters if axis not in (*inputs, *outputs))
    axes = Axes(inputs, outputs, groups)
    if not inputs and not outputs:
        axes = elementwise(shape[len(shape) - len(kernel) :])
    return _stacked(axes, shape, len(kernel))


def _convolution(layer: Any, name: str, shape: tuple[int, ...]) -> Axes | None:
    groups = getattr(layer, "groups", getattr(layer, "feature_group_count", 1))
    rank = len(layer.kernel_size) + 2
    if name in BIASES:
        rank = rank - 1 if hasattr(layer, "weight") else 1
        return _stacked(vector(shape[-rank:]), shape, rank)
    own = shape[len(shape) - rank :]
    if getattr(layer, "transpose_kernel", False):
        return _stacked(transposed(own), shape, rank)
    first = name == "weight"
    if groups == 1:
        axes = outputs_first(own) if first else outputs_last(own)
    elif first:
        view = (groups, own[0] // groups, *own[1:])
        axes = Axes(tuple(range(2, rank + 1)), (1,), (0,), shape=view)
    else:
        view = (*own[:-1], groups, own[-1] // groups)
        axes = Axes(tuple(range(rank - 1)), (rank,), (rank - 1,), shape=view)
    return _stacked(axes, shape, rank)


def _embedding(layer: Any, name: str, shape: tuple[int, ...]) -> Axes | None:
    return _stacked(Axes((0,), outputs=(1,), diagonal=True), shape, 2)


def _normalisation(layer: Any, name: str, shape: tuple[int, ...]) -> Axes:
    return elementwise(shape)


def _cell(layer: Any, name: str, shape: tuple[int, ...]) -> Axes | None:
    if name.startswith("weight"):
        return _stacked(Axes((1,), (0,)), shape, 2)
    return _stacked(vector(shape[-1:]), shape, 1) if name in BIASES else None


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("Linear", "LoRA"), _linear),
    "LinearGeneral": _linear_general,
    "Einsum": _einsum,
    **dict.fromkeys(("Conv", "ConvTranspose"), _convolution),
    **dict.fromkeys(("Embed", "Embedding"), _embedding),
    **dict.fromkeys(
        ("BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm", "RMSNorm"),
        _normalisation,
    ),
    **dict.fromkeys(("LSTMCell", "GRUCell"), _cell),
}
