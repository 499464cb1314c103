"""Which axes of a parameter are a layer's inputs, which its outputs and groups."""

import math
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp

import rgo_core
from rgo_core import Axes
from rgo_core._checks import check_integer
from rgo_jax.classes import axes_by_class
from rgo_jax.kinds import axes_by_name
from rgo_jax.told import check_overrides, check_told, warn_of_guesses, warn_of_names

__all__ = ["Axes", "Layout", "find_layout"]

AS_ASKED = "passed through as asked"


class Layout(NamedTuple):
    """What of a pytree of parameters is projected, by path, and what is passed through.

    Examples
    --------
    >>> import jax.numpy as jnp, rgo_jax
    >>> params = {"dense": {"kernel": jnp.ones((3, 2))}, "steps": jnp.zeros((), int)}
    >>> layout = rgo_jax.find_layout(params)
    >>> layout.axes["dense/kernel"].inputs
    (0,)
    >>> layout.passed
    {'steps': 'not real floating-point: int32'}
    """

    axes: Mapping[str, Axes]
    passed: Mapping[str, str]  # the reason
    # The rows of the sketch that is kept of a second moment, where one is.
    sketched: Mapping[str, int] = MappingProxyType({})


def find_layout(
    params: Any,
    overrides: Mapping[str, Axes | None] | None = None,
    *,
    max_features: int | None = None,
    sketch_rows: int = 128,
) -> Layout:
    """Infer the layout of parameters that follow Flax, Haiku or Equinox.

    By the class of the layer where `params` has modules, those of Equinox or a module
    of Flax nnx; else by names: ``kernel`` and ``w`` have their outputs in the last
    axis, or in as many of the last as the bias beside them has; ``weight`` has them in
    its first, or its last where the bias beside it fits that alone. A ``w`` of three
    axes or more without a bias is taken where its path says ``conv``, or it has the
    shape of a convolution's (h, w, in, out). A ``bias`` or ``b``
    beside one of these is a vector of its own. Embeddings, and all that acts entry by
    entry, as what scales and shifts in a normalisation, a class token or any parameter
    of another name, have a diagonal second moment.

    Parameters
    ----------
    params : pytree of arrays
        Of shapes and dtypes: `jax.ShapeDtypeStruct` serves.
    overrides : mapping of str to Axes or None, optional
        Axes by path where the inference is wrong or silent; None passes through.
    max_features : int, optional
        Parameters with more inputs than this keep a sketch of their second moment, see
        `rgo_core.empty_sketch`; none does where None.
    sketch_rows : int
        The rows of a sketch, 128 by default: 2 % of the memory of 6000 inputs.

    Returns
    -------
    Layout

    Raises
    ------
    TypeError
        If an override is neither Axes nor None.
    ValueError
        If an override names no parameter, or its axes are not all of the parameter's;
        if neither names nor shapes tell a kernel's inputs from its outputs; or if
        `max_features` or `sketch_rows` is not a positive integer.

    Warns
    -----
    UserWarning
        If a matrix has a name that tells nothing, as ``W1``: it would be kept by its
        diagonal. Or if a ``w`` is taken for a convolution of Haiku's, and may begin
        with its outputs.

    Notes
    -----
    A path joins the keys from the root to the leaf with ``/``, as in ``dense/kernel``.

    Only classes tell of groups: Flax linen and Haiku do not store how many a
    convolution has, and its groups share a projection unless `overrides` says more. The
    stacked kernels (layers, in, out) of a scan or map over layers have a projection for
    each layer where the class is known, and else must be told: ``Axes(inputs=(1,),
    outputs=(2,), groups=(0,))``. Flax's ``ConvTranspose`` with
    ``transpose_kernel=True`` is known by its class, or where it has a bias and more or
    fewer outputs than inputs.

    References
    ----------
    Liu and Liu, "Continual Learning with Recursive Gradient Optimization", ICLR 2022,
    appendix B.2: n is the number of inputs of one feature extractor.

    Examples
    --------
    >>> import jax.numpy as jnp, rgo_jax
    >>> params = {"mix": jnp.ones((3, 2))}
    >>> layout = rgo_jax.find_layout(params, {"mix": rgo_jax.Axes((0,), (1,))})
    >>> layout.axes["mix"].outputs
    (1,)
    """
    check_integer("sketch_rows", sketch_rows, 1)
    if max_features is not None:
        check_integer("max_features", max_features, 1)
    leaves, overrides = dict(named_leaves(params)), overrides or {}
    check_overrides(overrides, leaves)
    found = {**inferred(params), **overrides}
    check_told(found, overrides, leaves)
    of_class = {path for path, _ in axes_by_class(params, _path)}
    by_name = set(leaves) - set(overrides) - of_class
    warn_of_names(by_name, found, leaves)
    warn_of_guesses(by_name, found, leaves)
    axes = {path: each for path, each in found.items() if isinstance(each, Axes)}
    passed = {path: each for path, each in found.items() if isinstance(each, str)}
    asked = (path for path, each in overrides.items() if each is None)
    passed |= dict.fromkeys(asked, AS_ASKED)
    sizes = {path: rgo_core.features(leaves[path].shape, axes[path]) for path in axes}
    # A sketch of n rows is no smaller than the matrix, and less exact.
    most = math.inf if max_features is None else max(max_features, sketch_rows)
    wide = (path for path, n in sizes.items() if n > most and not axes[path].diagonal)
    sketched = dict.fromkeys(wide, sketch_rows)
    return Layout(axes, passed, sketched)


def inferred(params: Any) -> dict[str, Axes | str | None]:
    """Return axes by path, why a leaf is passed through, or None: nothing tells."""
    leaves = dict(named_leaves(params))
    known: dict[str, Axes | str | None] = dict(axes_by_class(params, _path))
    known |= _not_trained(params)
    found: dict[str, Axes | str | None] = {}
    for path, leaf in leaves.items():
        if not hasattr(leaf, "dtype"):
            found[path] = f"not an array: {type(leaf).__name__}"
        elif not jnp.issubdtype(leaf.dtype, jnp.floating):
            found[path] = f"not real floating-point: {leaf.dtype}"
        else:
            found[path] = known[path] if path in known else axes_by_name(path, leaves)
    return found


def named_leaves(tree: Any) -> list[tuple[str, Any]]:
    """Return the leaves of a pytree with their paths.

    Raise ValueError of one leaf without a name, or of two that have one path.
    """
    flat = jax.tree_util.tree_leaves_with_path(tree)
    if flat and not flat[0][0]:
        leaf = flat[0][1]
        raise ValueError(
            "expected parameters by name, as {'kernel': array}, got a single "
            f"{type(leaf).__name__} of shape {jnp.shape(leaf)}; give it a name, and "
            "put project_gradients beside optax.flatten, not inside of it"
        )
    named = [(_path(keys), leaf) for keys, leaf in flat]
    if len({path for path, _ in named}) < len(named):
        _raise_of_one_path([keys for keys, _ in flat])
    return named


def replaced(tree: Any, leaves: Mapping[str, Any]) -> Any:
    """Return the pytree with `leaves` in place of those of their paths."""
    return jax.tree_util.tree_map_with_path(
        lambda keys, leaf: leaves.get(_path(keys), leaf), tree
    )


def _path(keys: tuple[Any, ...]) -> str:
    names = [
        str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key))))
        for key in keys
    ]
    # The leaf of an nnx.Variable lies under its attribute `value`.
    if hasattr(keys[-1], "name") and names[1:] and names[-1] in ("value", "raw_value"):
        names.pop()
    return "/".join(names)


def _raise_of_one_path(every: list[tuple[Any, ...]]) -> NoReturn:
    """Raise ValueError of leaves with one path: each would stand for the other."""
    by_path: dict[str, list[str]] = {}
    for keys in every:
        by_path.setdefault(_path(keys), []).append(jax.tree_util.keystr(keys))
    path, leaves = next(each for each in by_path.items() if len(each[1]) > 1)
    raise ValueError(
        "expected parameters that differ in their paths, got "
        f"{' and '.join(leaves)}, which are both {path!r}: rename one"
    )


def _not_trained(params: Any) -> dict[str, str]:
    """Return the variables of a module of nnx that are no parameters, as statistics."""
    nnx = sys.modules.get("flax.nnx")
    if nnx is None or not isinstance(params, nnx.Module):
        return {}
    variables = jax.tree_util.tree_leaves_with_path(
        params, is_leaf=lambda node: isinstance(node, nnx.Variable)
    )
    return {
        _path(keys): f"not an nnx.Param: {type(variable).__name__}"
        for keys, variable in variables
        if isinstance(variable, nnx.Variable) and not isinstance(variable, nnx.Param)
    }
