"""Projected gradients as an optax transformation."""

from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

import rgo_core
from rgo_jax.forms import (
    Projection,
    fits,
    main_array,
)
from rgo_jax.layout import Axes, Layout, find_layout, inferred, named_leaves, replaced
from rgo_jax.projection import ProjectionState, check_single, identities, is_state
from rgo_jax.ranks import any_ranks
from rgo_jax.shardings import by_compiler


def project_gradients(
    layout: Layout | None = None, *, factored: Collection[str] = ()
) -> optax.GradientTransformationExtraArgs:
    """Return the transformation ``G -> n / trace(P) * P G`` of RGO.

    Its place in a chain says what is projected: before an optimizer the gradient, as in
    the paper; after it the update, which is what an adaptive optimizer needs, for what
    it divides by would undo the projection. Signs, and what clips or centres entries,
    come before too.

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
        had another shape, or the state is a stack of several.
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
        state = identities(params, found)
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
        if not is_state(state):
            raise TypeError(
                "expected the ProjectionState that init made, got a "
                f"{type(state).__name__}"
            )
        check_single(state, "optimizer.update")
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
            f"{', '.join(new)}: not there when init made the projections, or no array "
            "then (a Python number: give init jnp.asarray of it), and not protected; "
            "make the state anew by init, and end_task with the second moments of all "
            "tasks"
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
            "made: give project_gradients the layout of all parameters, or, if one has "
            "grown, make the state anew by init, and end_task with the second moments "
            "of all tasks"
        )
    return axes


@any_ranks
def _project(projection: Projection, gradient: Array, axes: Axes) -> Array:
    def product(projection: Projection, gradient: Array) -> Array:
        # TF32 and bfloat16 would leak ten and hundreds of times as much.
        with jax.default_matmul_precision("highest"):
            given = gradient.astype(main_array(projection).dtype)
            rows = rgo_core.to_rows(given, axes, leading=0, xp=jnp)
            projected = rgo_core.project(projection, rows, axis=-1)
        restored: Array = rgo_core.from_rows(projected, axes, gradient.shape, xp=jnp)
        return restored.astype(gradient.dtype)

    projected: Array = by_compiler(product, projection, gradient, like=gradient)
    return projected
