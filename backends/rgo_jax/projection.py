"""Projected gradients as an optax transformation."""

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

import rgo_core
from rgo_core import SecondMoment
from rgo_core._checks import check_choice, check_finite, check_positive
from rgo_jax.double import in_double
from rgo_jax.layout import (
    Axes,
    Layout,
    features,
    find_layout,
    from_matrix,
    named_leaves,
    replaced,
    to_matrix,
    with_features,
)

Biases = Literal["raw", "normalized"]


class ProjectionState(NamedTuple):
    """The projections of a network, by the paths of its parameters."""

    tasks: Array  # () int32, tasks ended
    weights: dict[str, Array]  # (n, n), float32 or float64; of trace n
    biases: dict[str, Array]  # (n, n)


def project_gradients(
    layout: Layout | None = None, *, factored: Collection[str] = ()
) -> optax.GradientTransformationExtraArgs:
    """Return the transformation ``G -> n / trace(P) * P G`` of RGO.

    Its place in a chain says what is projected: before an optimizer the gradient, as in
    the paper; after it the update, which is what an adaptive optimizer needs, for what
    it divides by would undo the projection.

    Parameters
    ----------
    layout : Layout, optional
        What to project; `find_layout` of the parameters where None.
    factored : collection of str
        Paths of weights whose gradients arrive projected, from `dense`.

    Returns
    -------
    optax.GradientTransformationExtraArgs
        With a `ProjectionState`, which changes in `end_task` only. Extra arguments are
        ignored, and so are leaves that are None or that `optax.masked` masks.

    Raises
    ------
    ValueError
        From ``init``, if there is nothing to project or a path in `factored` is not
        that of a weight.

    Notes
    -----
    A step costs ``n^2 m`` a weight, in true float32 at least; until the first task has
    ended nothing (under `jax.vmap` the branch not taken is computed too).

    References
    ----------
    Liu and Liu, "Continual Learning with Recursive Gradient Optimization", ICLR 2022,
    equation 9.

    Examples
    --------
    >>> import jax.numpy as jnp, optax, rgo_jax
    >>> params = {"dense": {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)}}
    >>> optimizer = optax.chain(rgo_jax.project_gradients(), optax.sgd(0.1))
    >>> state = optimizer.init(params)
    >>> updates, state = optimizer.update(params, state)
    """

    def init(params: Any) -> ProjectionState:
        found = find_layout(params) if layout is None else layout
        state = _identities(params, found)
        unknown = sorted(set(factored) - set(state.weights))
        if unknown:
            raise ValueError(
                f"factored must name weights among {sorted(state.weights)}, "
                f"got {unknown}"
            )
        return state

    def update(
        updates: Any, state: ProjectionState, params: Any = None, **extra: Any
    ) -> tuple[Any, ProjectionState]:
        axes = _axes_of(updates, state) if layout is None else layout.axes
        projections = {**state.weights, **state.biases}
        gradients = {
            path: gradient
            for path, gradient in named_leaves(updates)
            if path in projections and path not in factored
        }

        def projected(gradients: dict[str, Array]) -> dict[str, Array]:
            return {
                path: _project(projections[path], gradient, axes[path])
                for path, gradient in gradients.items()
            }

        gradients = jax.lax.cond(
            state.tasks > 0, projected, lambda plain: plain, gradients
        )
        return replaced(updates, gradients), state

    return optax.GradientTransformationExtraArgs(init, update)


def end_task(
    state: Any,
    moments: Mapping[str, SecondMoment],
    *,
    damping: float = 0.03,
    relative: bool = False,
    biases: Biases = "raw",
) -> Any:
    """Renew the projections in an optimizer's state from second moments.

    ``P = (I + H / alpha)^-1`` by parameter, that of a weight scaled to trace n.

    Parameters
    ----------
    state : pytree
        The state of an optax optimizer with one `project_gradients`.
    moments : mapping of str to SecondMoment
        Of all tasks so far, as `observe` adds them up. A parameter without one keeps
        its projection.
    damping : float
        alpha > 0. The default was measured for one ground-truth vector a sample, with
        encoding.
    relative : bool
        Whether `damping` counts in units of the mean of H's diagonal, see
        `rgo_core.consolidate`.
    biases : {"raw", "normalized"}
        Whether the projections of biases are scaled to trace n too, as in the paper.

    Returns
    -------
    pytree
        The new state.

    Raises
    ------
    TypeError
        If a second moment is not float64.
    ValueError
        If an option is not one of those listed, `state` holds other than one
        `ProjectionState`, or a second moment is of an unknown parameter, has another
        shape or is not finite. Under a JAX transformation values cannot be checked, and
        the projection is NaN.

    Notes
    -----
    One Cholesky inverse of n x n in float64 a parameter, whatever `jax_enable_x64`
    says. Pure; may be compiled, scanned and mapped.

    Do not combine ``relative=True`` with vectors of ``curvature="exact"`` and
    ``reduce="mean"``: those of the head's weight are zero up to rounding, which would
    be blown up into a projection, and nothing here can tell.

    References
    ----------
    Liu and Liu (2022), Algorithm 1.

    Examples
    --------
    >>> import jax.numpy as jnp, optax, rgo_jax
    >>> params = {"kernel": jnp.ones((3, 2))}
    >>> optimizer = optax.chain(rgo_jax.project_gradients(), optax.sgd(0.1))
    >>> moments = rgo_jax.observe({}, {"kernel": jnp.ones((1, 3))})
    >>> state = rgo_jax.end_task(optimizer.init(params), moments)
    >>> rgo_jax.projection_state(state).weights["kernel"].trace()
    Array(3., dtype=float32)
    """
    check_positive("damping", damping)
    check_choice("biases", biases, ("raw", "normalized"))
    before = projection_state(state)
    _check_moments(before, moments)

    def renewed(projections: dict[str, Array], normalized: bool) -> dict[str, Array]:
        return {
            path: consolidated(moments[path], normalized).astype(projection.dtype)
            if path in moments
            else projection
            for path, projection in projections.items()
        }

    def consolidated(moment: SecondMoment, normalized: bool) -> Array:
        consolidate = partial(
            rgo_core.consolidate,
            damping=damping,
            relative=relative,
            normalized=normalized,
            xp=jnp,
        )
        projection: Array = in_double(consolidate)(moment)
        return projection

    after = ProjectionState(
        before.tasks + 1,
        renewed(before.weights, True),
        renewed(before.biases, biases == "normalized"),
    )
    return jax.tree.map(
        lambda node: after if _is_state(node) else node, state, is_leaf=_is_state
    )


def projection_state(state: Any) -> ProjectionState:
    """Return the one `ProjectionState` in the state of an optimizer.

    Parameters
    ----------
    state : pytree

    Returns
    -------
    ProjectionState

    Raises
    ------
    ValueError
        If there is none, or more than one.

    Examples
    --------
    >>> import jax.numpy as jnp, rgo_jax
    >>> state = rgo_jax.project_gradients().init({"kernel": jnp.ones((3, 2))})
    >>> int(rgo_jax.projection_state((state, ())).tasks)
    0
    """
    nodes = [n for n in jax.tree.leaves(state, is_leaf=_is_state) if _is_state(n)]
    if len(nodes) != 1:
        raise ValueError(
            "expected the state of an optimizer with one project_gradients, got one "
            f"with {len(nodes)}"
        )
    found: ProjectionState = nodes[0]
    return found


def _is_state(node: Any) -> bool:
    return isinstance(node, ProjectionState)


def _identities(params: Any, layout: Layout) -> ProjectionState:
    weights: dict[str, Array] = {}
    biases: dict[str, Array] = {}
    for path, leaf in named_leaves(params):
        if path in layout.axes:
            axes = layout.axes[path]
            dtype = jnp.promote_types(leaf.dtype, jnp.float32)
            identity = jnp.eye(features(leaf.shape, axes), dtype=dtype)
            (weights if axes.outputs else biases)[path] = identity
    if not weights and not biases:
        raise ValueError(
            f"there is nothing to project: {dict(layout.passed)} are passed through"
        )
    return ProjectionState(jnp.zeros((), jnp.int32), weights, biases)


def _axes_of(updates: Any, state: ProjectionState) -> dict[str, Axes]:
    """Return the axes that ``init`` found, of updates some of which may now be None.

    Bias and kernel tell of each other's axes; the state remembers what they told.
    """
    found = find_layout(updates).axes
    axes: dict[str, Axes] = {}
    for path, leaf in named_leaves(updates):
        if path in state.weights:
            n = state.weights[path].shape[-1]
            axes[path] = with_features(found[path], leaf.shape, n)
        elif path in state.biases:
            axes[path] = Axes(tuple(range(leaf.ndim)), ())
    return axes


def _project(projection: Array, gradient: Array, axes: Axes) -> Array:
    # TF32 and bfloat16 would leak ten and hundreds of times as much.
    with jax.default_matmul_precision("highest"):
        matrix = to_matrix(gradient.astype(projection.dtype), axes)
        projected = rgo_core.project(projection, matrix)
    restored: Array = from_matrix(projected, axes, gradient.shape)
    return restored.astype(gradient.dtype)


def _check_moments(state: ProjectionState, moments: Mapping[str, SecondMoment]) -> None:
    projections = {**state.weights, **state.biases}
    unknown = sorted(set(moments) - set(projections))
    if unknown:
        raise ValueError(
            f"moments must be named after projected parameters, got {unknown}; there "
            f"are {sorted(projections)}"
        )
    for path, moment in moments.items():
        if moment.matrix.dtype != jnp.float64:
            raise TypeError(
                f"{path}: expected a second moment in float64, got "
                f"{moment.matrix.dtype}: was it computed with outside of rgo_jax?"
            )
        if moment.matrix.shape != projections[path].shape:
            raise ValueError(
                f"{path}: expected a second moment of shape "
                f"{projections[path].shape}, got {moment.matrix.shape}"
            )
        check_finite(f"{path}: a second moment", moment.matrix, jnp)
