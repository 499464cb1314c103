"""Which axes of a parameter are a layer's inputs, and which its outputs."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

# Flax and Haiku store (..., in, out), Equinox (out, in, ...).
OUTPUTS_LAST, OUTPUTS_FIRST, BIASES = ("kernel", "w"), ("weight",), ("bias", "b")
PASSED_BY_CLASS = {
    **dict.fromkeys(
        ("Embedding", "Embed"), "an embedding: its rows are looked up, not multiplied"
    ),
    **dict.fromkeys(
        ("BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm", "RMSNorm"),
        "of a normalisation: it acts on each entry alone",
    ),
}


class Axes(NamedTuple):
    """The axes of one parameter; a bias has no outputs: its entries are its n.

    Examples
    --------
    >>> import rgo_jax
    >>> rgo_jax.Axes(inputs=(0, 1, 2), outputs=(3,))
    Axes(inputs=(0, 1, 2), outputs=(3,))
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Layout(NamedTuple):
    """What of a pytree of parameters is projected, by path, and what is passed through.

    Examples
    --------
    >>> import jax.numpy as jnp, rgo_jax
    >>> params = {"dense": {"kernel": jnp.ones((3, 2))}, "scale": jnp.ones(2)}
    >>> layout = rgo_jax.find_layout(params)
    >>> layout.axes
    {'dense/kernel': Axes(inputs=(0,), outputs=(1,))}
    >>> layout.passed
    {'scale': 'its name is none of kernel, w, weight, bias, b'}
    """

    axes: Mapping[str, Axes]
    passed: Mapping[str, str]  # the reason


def find_layout(
    params: Any, overrides: Mapping[str, Axes | None] | None = None
) -> Layout:
    """Infer the layout of parameters that follow Flax, Haiku or Equinox.

    ``kernel`` and ``w`` have their outputs in the last axis, or in as many of the last
    as the bias beside them has; ``weight`` has them in its first. A ``bias`` or ``b``
    beside one of these is a vector of its own. All else is passed through: what scales
    and shifts in a normalisation, embeddings (rows are looked up, not multiplied), what
    has another name, what is not real floating-point.

    Parameters
    ----------
    params : pytree of arrays
        Of shapes and dtypes: `jax.ShapeDtypeStruct` serves.
    overrides : mapping of str to Axes or None, optional
        Axes by path where the inference is wrong or silent; None passes through.

    Returns
    -------
    Layout

    Raises
    ------
    ValueError
        If an override names no parameter, or its axes are not all of the parameter's.

    Notes
    -----
    A path joins the keys from the root to the leaf with ``/``, as in ``dense/kernel``.
    Equinox's normalisations and embeddings are known by the classes of their modules:
    where ``weight`` and ``bias`` lie in a dictionary instead, say None for them.
    The kernel of a grouped convolution has one projection, shared by its groups. The
    stacked kernels (layers, in, out) of Flax's ``nn.scan`` look like one kernel of
    ``layers * in`` inputs: name their axes, ``Axes((1,), (0, 2))`` for a shared one.

    References
    ----------
    Liu and Liu, "Continual Learning with Recursive Gradient Optimization", ICLR 2022,
    appendix B.2: n is the number of inputs of one feature extractor.

    Examples
    --------
    >>> import jax.numpy as jnp, rgo_jax
    >>> params = {"mix": jnp.ones((3, 2))}
    >>> rgo_jax.find_layout(params, {"mix": rgo_jax.Axes((0,), (1,))}).axes
    {'mix': Axes(inputs=(0,), outputs=(1,))}
    """
    leaves = dict(named_leaves(params))
    reasons = _passed_by_class(params)
    overrides = {} if overrides is None else overrides
    _check_overrides(overrides, leaves)
    axes: dict[str, Axes] = {}
    passed: dict[str, str] = {}
    for path, leaf in leaves.items():
        found = reasons.get(path) or _infer(path, leaf, leaves)
        if path in overrides:
            found = overrides[path] or "passed through as asked"
        if isinstance(found, Axes):
            axes[path] = found
        else:
            passed[path] = found
    return Layout(axes, passed)


def named_leaves(tree: Any) -> list[tuple[str, Any]]:
    """Return the leaves of a pytree with their paths."""
    flat = jax.tree_util.tree_leaves_with_path(tree)
    return [(_path(keys), leaf) for keys, leaf in flat]


def replaced(tree: Any, leaves: Mapping[str, Any]) -> Any:
    """Return the pytree with `leaves` in place of those of their paths."""
    return jax.tree_util.tree_map_with_path(
        lambda keys, leaf: leaves.get(_path(keys), leaf), tree
    )


def features(shape: tuple[int, ...], axes: Axes) -> int:
    """Return n, the product of the input axes."""
    n = 1
    for axis in axes.inputs:
        n *= shape[axis]
    return n


def with_features(axes: Axes, shape: tuple[int, ...], n: int) -> Axes:
    """Return the axes, in the same order, divided so that the inputs make n."""
    order = (*axes.inputs, *axes.outputs)
    divided = [Axes(order[:split], order[split:]) for split in range(len(order) + 1)]
    return next((each for each in divided if features(shape, each) == n), axes)


def to_matrix(array: Array, axes: Axes) -> Array:
    """See the last axes of an array (..., *shape) as (..., n, m)."""
    order = (*axes.inputs, *axes.outputs)
    leading = array.ndim - len(order)
    moved = jnp.transpose(array, (*range(leading), *(leading + axis for axis in order)))
    n = features(array.shape[leading:], axes)
    return moved.reshape(*array.shape[:leading], n, -1)


def from_matrix(matrix: Array, axes: Axes, shape: tuple[int, ...]) -> Array:
    """See a matrix (n, m) as the array of `shape` that `to_matrix` saw."""
    order = (*axes.inputs, *axes.outputs)
    moved = matrix.reshape([shape[axis] for axis in order])
    return jnp.transpose(moved, [order.index(axis) for axis in range(len(shape))])


def _path(keys: tuple[Any, ...]) -> str:
    names = [
        str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key))))
        for key in keys
    ]
    # The leaf of an nnx.Variable lies under its attribute `value`.
    if len(names) > 1 and names[-1] in ("value", "raw_value"):
        names.pop()
    return "/".join(names)


def _passed_by_class(params: Any) -> dict[str, str]:
    """Return why parameters are passed through, of layers that are known by class."""
    layers = jax.tree_util.tree_leaves_with_path(
        params, is_leaf=lambda node: type(node).__name__ in PASSED_BY_CLASS
    )
    return {
        _path((*outer, *inner)): PASSED_BY_CLASS[type(layer).__name__]
        for outer, layer in layers
        if type(layer).__name__ in PASSED_BY_CLASS
        for inner, _ in jax.tree_util.tree_leaves_with_path(layer)
    }


def _infer(path: str, leaf: Any, leaves: Mapping[str, Any]) -> Axes | str:
    """Return the axes of a parameter, or why it is passed through."""
    *parents, name = path.split("/")
    parent = "/".join([*parents, ""])
    if not hasattr(leaf, "dtype"):
        return f"not an array: {type(leaf).__name__}"
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
        return f"not real floating-point: {leaf.dtype}"
    if name in BIASES:
        weights = (*OUTPUTS_LAST, *OUTPUTS_FIRST)
        beside = [leaves.get(parent + weight) for weight in weights]
        if any(weight is not None and len(weight.shape) > 1 for weight in beside):
            return Axes(tuple(range(len(leaf.shape))), ())
        return "a bias without a kernel beside it"
    if name not in (*OUTPUTS_LAST, *OUTPUTS_FIRST):
        names = ", ".join((*OUTPUTS_LAST, *OUTPUTS_FIRST, *BIASES))
        return f"its name is none of {names}"
    if len(leaf.shape) < 2:
        return "it has fewer than two axes"
    if name in OUTPUTS_FIRST:
        return Axes(tuple(range(1, len(leaf.shape))), (0,))
    biases = [leaves[parent + bias] for bias in BIASES if parent + bias in leaves]
    split = len(leaf.shape) - _output_axes(leaf.shape, biases)
    return Axes(tuple(range(split)), tuple(range(split, len(leaf.shape))))


def _output_axes(shape: tuple[int, ...], biases: list[Any]) -> int:
    """Return how many of the last axes are outputs: those of the bias, or one."""
    for bias in biases:
        axes = len(bias.shape)
        if 0 < axes < len(shape) and shape[-axes:] == tuple(bias.shape):
            return axes
    return 1


def _check_overrides(
    overrides: Mapping[str, Axes | None], leaves: Mapping[str, Any]
) -> None:
    arrays = [path for path, leaf in leaves.items() if hasattr(leaf, "dtype")]
    unknown = sorted(set(overrides) - set(arrays))
    if unknown:
        raise ValueError(
            f"overrides must name parameters among {arrays}, got {unknown}"
        )
    for path, axes in overrides.items():
        shape = tuple(leaves[path].shape)
        if axes is not None and sorted([*axes.inputs, *axes.outputs]) != list(
            range(len(shape))
        ):
            raise ValueError(
                f"{path}: inputs and outputs must be all axes of shape {shape}, each "
                f"once and counted from 0, got {axes}"
            )
