"""Which axes a parameter has by its name, its shape and what stands beside it.

The dictionaries of Flax linen and Haiku, and a state of nnx, leave no more.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from rgo_core import Axes
from rgo_core._names import may_multiply

# Flax and Haiku store (..., in, out), Equinox (out, in, ...).
OUTPUTS_LAST = ("kernel", "w", "w_i", "w_h", "lora_a", "lora_b")
OUTPUTS_FIRST = ("weight", "weight_ih", "weight_hh")
BIASES = ("bias", "b", "bias_n")
EMBEDDINGS = ("embedding", "embeddings")
HEADS = ("query", "key", "value")
# Matrices that are no perceptron's: the layers and gates of cells in Equinox, Haiku and
# Flax, and what attends.
RECURS = r"(^|/)(weight_hh|w_h|hidden_to_hidden|(dense_)?h|h[fgiornz])(/|$)"
DEEP = re.compile(rf"{RECURS}|lstm|gru|rnn|recurrent|query|attention", re.IGNORECASE)

# As Haiku calls convolutions by itself, all of which end in their outputs.
OF_HAIKU = re.compile(r"conv[123]_d")


def axes_by_name(path: str, leaves: Mapping[str, Any]) -> Axes | None:
    """Return the axes of a parameter; None where its name and shape do not tell."""
    parent, name = _split(path)
    shape = tuple(leaves[path].shape)
    weight = _shape(leaves, parent + "weight")
    shifts = parent + "scale" in leaves or (weight is not None and len(weight) < 2)
    if name in BIASES and not shifts:
        return vector(shape)
    if name in EMBEDDINGS and len(shape) == 2:
        return Axes(inputs=(0,), outputs=(1,), diagonal=True)
    if len(shape) < 2 or name not in (*OUTPUTS_LAST, *OUTPUTS_FIRST):
        return elementwise(shape)
    if name == "weight":
        return _weight(parent, shape, leaves)
    if name in OUTPUTS_FIRST:
        return outputs_first(shape)
    return _kernel(path, shape, leaves)


def readings(path: str, leaves: Mapping[str, Any]) -> list[Axes]:
    """Return the ways in which a kernel that nothing tells may be read, if known."""
    parent, name = _split(path)
    shape, bias = tuple(leaves[path].shape), _bias(parent, leaves)
    if name == "weight" and bias is not None and shape[: len(bias)] == bias:
        stack, last = tuple(range(len(bias) - 1)), len(bias) - 1
        inputs = tuple(range(len(bias), len(shape)))
        return [outputs_first(shape), Axes(inputs, (last,), stack)]
    if name == "w" and _is_untold(name, shape, bias):
        return [outputs_last(shape), outputs_first(shape)]
    return [] if name == "weight" or bias is None else _beside(shape, bias)


def is_guessed(path: str, leaves: Mapping[str, Any]) -> bool:
    """Whether a ``w`` taken for (sides..., in, out) may well be (out, in, sides...).

    That is what `jax.lax.conv` takes; Haiku's own names say that it is not.
    """
    parent, name = _split(path)
    shape = tuple(leaves[path].shape)
    if name != "w" or len(shape) < 3 or OF_HAIKU.search(parent):
        return False
    turned = (*shape[2:], shape[1], shape[0])
    untold = _is_untold(name, shape, _bias(parent, leaves))
    return untold and _ends_in_channels(turned)


def is_unnamed(path: str, shape: tuple[int, ...]) -> bool:
    """Whether a leaf may multiply as a matrix, for all that its name says."""
    *_, name = path.split("/")
    told = name in (*OUTPUTS_LAST, *OUTPUTS_FIRST, *BIASES, *EMBEDDINGS)
    return not told and may_multiply(name, shape)


def is_plain(axes: Mapping[str, Axes]) -> bool:
    """Tell a perceptron: matrices and biases, and none of a cell or of attention."""
    of_windows = any(len(a.inputs) > 1 or a.groups for a in axes.values() if a.outputs)
    by_entry = any(each.diagonal for each in axes.values())
    return not (of_windows or by_entry or any(map(DEEP.search, axes)))


def vector(shape: tuple[int, ...]) -> Axes:
    """Return the axes of a bias: its entries are one vector."""
    return Axes(inputs=tuple(range(len(shape))))


def elementwise(shape: tuple[int, ...]) -> Axes:
    """Return the axes of what scales or shifts entry by entry."""
    return Axes(inputs=tuple(range(len(shape))), diagonal=True)


def outputs_first(shape: tuple[int, ...]) -> Axes:
    """Return the axes of (out, in, ...)."""
    return Axes(inputs=tuple(range(1, len(shape))), outputs=(0,))


def outputs_last(shape: tuple[int, ...], count: int = 1) -> Axes:
    """Return the axes of (..., in, out), with the last `count` axes as outputs."""
    split = len(shape) - count
    return Axes(tuple(range(split)), outputs=tuple(range(split, len(shape))))


def transposed(shape: tuple[int, ...]) -> Axes:
    """Return the axes of (..., out, in)."""
    last = len(shape) - 1
    return Axes(inputs=(*range(last - 1), last), outputs=(last - 1,))


def _split(path: str) -> tuple[str, str]:
    *parents, name = path.split("/")
    return "/".join([*parents, ""]), name


def _shape(leaves: Mapping[str, Any], path: str) -> tuple[int, ...] | None:
    return tuple(leaves[path].shape) if hasattr(leaves.get(path), "shape") else None


def _weight(
    parent: str, shape: tuple[int, ...], leaves: Mapping[str, Any]
) -> Axes | None:
    """Return the axes of (out, in, ...), or of what the bias beside it says it is."""
    bias = _bias(parent, leaves)
    # A convolution of one channel, or a stack of layers of one output.
    stacked = bias is not None and len(bias) > 1 and shape[: len(bias)] == bias
    if stacked and bias != shape:
        return None
    if bias is None or bias[0] == math.prod(bias) == shape[0]:
        return outputs_first(shape)
    if bias == shape:
        return elementwise(shape)
    return outputs_last(shape) if bias == shape[-1:] else None


def _bias(parent: str, leaves: Mapping[str, Any]) -> tuple[int, ...] | None:
    beside = (_shape(leaves, parent + bias) for bias in ("bias", "b"))
    return next((found for found in beside if found), None)


def _kernel(
    path: str, shape: tuple[int, ...], leaves: Mapping[str, Any]
) -> Axes | None:
    """Return the axes of a kernel by what stands beside it and what it is called."""
    parent, name = _split(path)
    outer, layer = _split(parent[:-1])
    if len(shape) == 3 and _is_attention(outer, leaves):
        if layer in HEADS:
            return outputs_last(shape, 2)
        if layer == "out":
            return outputs_last(shape)
    bias = _bias(parent, leaves)
    # Haiku's transposed convolutions are stored (..., out, in).
    turned = name == "w" and len(shape) > 2 and "transpose" in layer.lower()
    if turned or (len(shape) > 2 and bias == shape[-2:-1] != shape[-1:]):
        return transposed(shape)
    if bias is None or _is_untold(name, shape, bias):
        says = len(shape) == 2 or "conv" in layer.lower()
        told = says or (name == "w" and len(shape) > 3 and _ends_in_channels(shape))
        return outputs_last(shape) if told else None
    found = _beside(shape, bias)
    # Where a stack fits as well, which of them it is nothing tells.
    return found[0] if len(found) == 1 and not found[0].groups else None


def _is_untold(name: str, shape: tuple[int, ...], bias: tuple[int, ...] | None) -> bool:
    """Whether no bias tells, or one that fits (out, in, ...) as well as (..., out)."""
    if bias is None:
        return True
    return name == "w" and len(shape) > 2 and bias == shape[:1] == shape[-1:]


def _ends_in_channels(shape: tuple[int, ...]) -> bool:
    """Whether a shape is that of a convolution's (sides..., in, out): as (3, 3, 8, 16).

    All sides are as long, and there are no fewer outputs.
    """
    *sides, _, outputs = shape
    return len(set(sides)) == 1 and sides[0] <= outputs


def _beside(shape: tuple[int, ...], bias: tuple[int, ...]) -> list[Axes]:
    """Return all ways to read a kernel beside a bias.

    The first axes of both may be those of a stack; the last of both are the outputs.
    """
    rank, count = len(shape), len(bias)
    return [
        Axes(
            tuple(range(stack, rank - count + stack)),
            outputs=tuple(range(rank - count + stack, rank)),
            groups=tuple(range(stack)),
        )
        for stack in range(count)
        if count < rank and bias == shape[:stack] + shape[rank - count + stack :]
    ]


def _is_attention(outer: str, leaves: Mapping[str, Any]) -> bool:
    """Whether four kernels are those of heads, and of no stack of dense layers."""
    names = (*HEADS, "out")
    shapes = [_shape(leaves, f"{outer}{name}/kernel") for name in names]
    if not all(shape is not None and len(shape) == 3 for shape in shapes):
        return False
    query, key, value, out = (shape or () for shape in shapes)
    heads = query[1]
    meet = query[1:] == key[1:] and value[1:] == out[:2] and key[1] == value[1]
    # Of a stack the first axes are all its layers.
    return meet and any(shape[0] != heads for shape in (query, key, value))
