"""Projected gradients as an optax transformation."""

import sys
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, Final, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

import rgo_core
from rgo_core._checks import (
    check_choice,
    check_finite,
    check_mapping,
    check_positive,
    check_seen,
)
from rgo_core.damping import Damping, split_damping, with_flag
from rgo_core.scaling import NORMALIZE, Normalize, with_biases
from rgo_jax.double import check_kept_double, in_double
from rgo_jax.forms import (
    Moment,
    Projection,
    fits,
    identity_form,
    main_array,
    moment_kind,
)
from rgo_jax.layout import Axes, Layout, find_layout, inferred, named_leaves, replaced
from rgo_jax.ranks import any_ranks

# For one ground-truth vector a sample, and encoded features.
MEASURED: Final = rgo_core.measured_damping("sample", "mean")


class ProjectionState(NamedTuple):
    """The projections of a network, by the paths of its parameters.

    Arrays (groups..., n, n), or the `rgo_core.DiagonalProjection` or
    `rgo_core.LowRankProjection` that the layout asks for; float32 or float64.
    """

    tasks: Array  # () int32, tasks ended
    weights: dict[str, Projection]  # of trace n
    biases: dict[str, Projection]  # of all parameters without outputs


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
        that of a weight; from ``update``, if a parameter was not there at ``init``, or
        had another shape.
    TypeError
        From ``update``, if its state is not that of this transformation.

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
        if not _is_state(state):
            raise TypeError(
                "expected the ProjectionState that init made, got a "
                f"{type(state).__name__}"
            )
        axes = _axes_of(updates, state, layout)
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


@any_ranks
def end_task(
    state: Any,
    moments: Mapping[str, Moment],
    *,
    damping: Damping = MEASURED,
    normalize: Normalize | None = None,
    relative: bool | None = None,
    biases: Literal["raw", "normalized"] | None = None,
) -> Any:
    """Renew the projections in an optimizer's state from second moments.

    ``P = (I + H / alpha)^-1`` by parameter, that of a weight scaled to trace n.

    Parameters
    ----------
    state : pytree
        The state of an optax optimizer with one `project_gradients`.
    moments : mapping of str to SecondMoment, DiagonalMoment or SketchedMoment
        Of all tasks so far, as `observe` adds them up, of JAX or of NumPy. A parameter
        without one keeps its projection.
    damping : float or rgo_core.Relative
        alpha > 0; see `rgo_core.consolidate`. The default was measured for one
        ground-truth vector a sample and encoded features; for other vectors, and where
        features are not encoded, see `rgo_core.measured_damping`. Where updates are
        projected, ``Relative(0.3)`` was.
    normalize : {"weights", "all", "none"}, optional
        Which projections are scaled to trace n: those of weights (where None), or of
        all parameters without outputs (biases) too, as in the paper, or none, as where
        updates are projected, whose length scaling would add to.
    relative : bool, optional
    biases : {"raw", "normalized"}, optional
        What 0.1.0 had for ``Relative(damping)`` and ``normalize="all"``, with a
        warning; gone in the next release.

    Returns
    -------
    pytree
        The new state: of an `nnx.Optimizer` its new `opt_state`.

    Raises
    ------
    TypeError
        If `moments` is no mapping, or a second moment is not float64 or of another form
        than the layout's.
    ValueError
        If an option is not one of those listed, `state` holds other than one
        `ProjectionState`, there are no second moments or all are zero, or one is of an
        unknown parameter, has another shape, is not finite or not symmetric, or
        `damping` is too small for it. Under a JAX transformation values cannot be
        checked, and the projection is NaN.

    Notes
    -----
    One Cholesky inverse of n x n in float64 a parameter, whatever `jax_enable_x64`
    says. Pure; may be compiled, scanned and mapped.

    Do not combine a `Relative` damping with vectors of ``curvature="exact"`` and
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
    check_choice("normalize", normalize, (None, *NORMALIZE))
    normalize = with_biases(normalize, biases, stacklevel=3) or "weights"
    damping = with_flag(damping, relative, stacklevel=3)
    check_positive("damping", split_damping(damping)[0])
    before = projection_state(state)
    _check_moments(before, moments)

    def renewed(projections: dict[str, Any], normalized: bool) -> dict[str, Any]:
        consolidate = partial(
            rgo_core.consolidate,
            damping=damping,
            normalized=normalized,
            xp=jnp,
        )
        return {
            path: _cast(in_double(consolidate)(moments[path]), projection)
            if path in moments
            else projection
            for path, projection in projections.items()
        }

    after = ProjectionState(
        before.tasks + 1,
        renewed(before.weights, normalize != "none"),
        renewed(before.biases, normalize == "all"),
    )
    return jax.tree.map(
        lambda node: _wrapped_as(node, after) if _is_state(node) else node,
        state,
        is_leaf=_is_state,
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
    found: ProjectionState = _unwrapped(nodes[0])
    return found


def _is_state(node: Any) -> bool:
    return isinstance(node, ProjectionState)


def _unwrapped(state: ProjectionState) -> ProjectionState:
    """Return the state without the variables that `nnx.Optimizer` keeps arrays in."""
    nnx = sys.modules.get("flax.nnx")
    if nnx is None:
        return state

    def is_variable(node: Any) -> bool:
        return isinstance(node, nnx.Variable)

    plain: ProjectionState = jax.tree.map(
        lambda node: node.get_value() if is_variable(node) else node,
        state,
        is_leaf=is_variable,
    )
    return plain


def _wrapped_as(before: ProjectionState, after: ProjectionState) -> ProjectionState:
    wrapped: ProjectionState = jax.tree.unflatten(
        jax.tree.structure(before), jax.tree.leaves(after)
    )
    return wrapped


def _cast(projection: Projection, before: Projection) -> Projection:
    cast: Projection = jax.tree.map(
        lambda new, old: new.astype(old.dtype), projection, before
    )
    return cast


def _identities(params: Any, layout: Layout) -> ProjectionState:
    weights: dict[str, Projection] = {}
    biases: dict[str, Projection] = {}
    for path, leaf in named_leaves(params):
        if path in layout.axes:
            kept = weights if layout.axes[path].outputs else biases
            kept[path] = identity_form(path, leaf, layout)
    if not weights and not biases:
        raise ValueError(
            f"there is nothing to project: {dict(layout.passed)} are passed through"
        )
    return ProjectionState(jnp.zeros((), jnp.int32), weights, biases)


def _axes_of(
    updates: Any, state: ProjectionState, layout: Layout | None
) -> dict[str, Axes]:
    """Return the axes that ``init`` found, of updates some of which may now be None.

    Bias and kernel tell of each other's axes; the state remembers what they told.
    """
    found: Mapping[str, Axes | str | None]
    found = inferred(updates) if layout is None else {**layout.axes, **layout.passed}
    axes: dict[str, Axes] = {}
    new: list[str] = []
    for path, leaf in named_leaves(updates):
        projection = state.weights.get(path, state.biases.get(path))
        if projection is not None:
            axes[path] = _remembered(
                path, found.get(path), tuple(leaf.shape), projection
            )
        elif not isinstance(found.get(path), str):
            new.append(path)
    if new:
        raise ValueError(
            f"{', '.join(new)}: not there when init made the projections, and not "
            "protected; make the state anew by init, and end_task with the second "
            "moments of all tasks"
        )
    return axes


def _remembered(
    path: str,
    found: Axes | str | None,
    shape: tuple[int, ...],
    projection: Projection,
) -> Axes:
    order = tuple(range(len(shape)))
    splits = [Axes(order[:split], order[split:]) for split in range(len(order) + 1)]
    likely = [found, Axes(order), Axes(order, diagonal=True), *splits]
    fitting = (
        axes
        for axes in likely
        if isinstance(axes, Axes) and fits(axes, shape, projection)
    )
    axes = next(fitting, None)
    if axes is None:
        raise ValueError(
            f"{path}: updates of shape {shape} do not fit the projections that init "
            "made: give project_gradients the layout of all parameters"
        )
    return axes


@any_ranks
def _project(projection: Projection, gradient: Array, axes: Axes) -> Array:
    # TF32 and bfloat16 would leak ten and hundreds of times as much.
    with jax.default_matmul_precision("highest"):
        given = gradient.astype(main_array(projection).dtype)
        rows = rgo_core.to_rows(given, axes, leading=0, xp=jnp)
        projected = rgo_core.project(projection, rows, axis=-1)
    restored: Array = rgo_core.from_rows(projected, axes, gradient.shape, xp=jnp)
    return restored.astype(gradient.dtype)


def _check_moments(state: ProjectionState, moments: Mapping[str, Moment]) -> None:
    check_mapping("moments", moments)
    projections = {**state.weights, **state.biases}
    unknown = sorted(set(moments) - set(projections))
    if unknown:
        raise ValueError(
            f"moments must be named after projected parameters, got {unknown}; there "
            f"are {sorted(projections)}"
        )
    for path, moment in moments.items():
        _check_moment(path, moment, projections[path])
    with jax.enable_x64(True):
        check_seen(moments.values(), jnp)


def _check_moment(path: str, moment: Moment, projection: Projection) -> None:
    kind = moment_kind(projection)
    if not isinstance(moment, kind):
        raise TypeError(
            f"{path}: expected a {kind.__name__}, as empty_moments of the same layout "
            f"makes it, got a {type(moment).__name__}"
        )
    check_kept_double(path, moment)
    found, expected = moment[0].shape, main_array(projection).shape
    if found != expected:
        raise ValueError(
            f"{path}: expected a second moment of shape {expected}, got {found}"
        )
    check_finite(f"{path}: a second moment", moment[0], jnp)
