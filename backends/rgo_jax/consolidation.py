"""The end of a task: the projections of an optimizer renewed from second moments."""

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

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
from rgo_jax.chain import default_damping, warn_of_chain, without_momentum
from rgo_jax.double import check_kept_double, in_double
from rgo_jax.forms import (
    Moment,
    Projection,
    main_array,
    moment_kind,
    trace,
)
from rgo_jax.grown import way_to_grow
from rgo_jax.lost import warn_of_loss
from rgo_jax.projection import (
    MEASURED,
    ProjectionState,
    check_single,
    is_state,
    looked_up,
    projection_state,
    wrapped_as,
)
from rgo_jax.ranks import any_ranks


@any_ranks
def end_task(
    state: Any,
    moments: Mapping[str, Moment],
    *,
    damping: Damping | None = None,
    normalize: Normalize | None = None,
    relative: bool | None = None,
    biases: Literal["raw", "normalized"] | None = None,
) -> Any:
    """Renew the projections in an optimizer's state from second moments.

    ``P = (I + H / alpha)^-1`` by parameter, scaled to trace n if asked for.

    Parameters
    ----------
    state : pytree
        The state of an optax optimizer with one `project_gradients`.
    moments : mapping of str to SecondMoment, DiagonalMoment or SketchedMoment
        Of all tasks so far, as `observe` adds them up, of JAX or of NumPy. A parameter
        without one keeps its projection.
    damping : float or rgo_core.Relative
        alpha > 0; see `rgo_core.consolidate`. Where None, what was measured for one
        ground-truth vector a sample, encoded features and unscaled projections: 0.1 for
        a multilayer perceptron, ``Relative(0.03)`` for networks that convolve,
        normalise, attend or recur, as far as the layout tells, and ``Relative(0.3)``
        where an optimizer with momentum or more precedes `project_gradients` in a
        chain.
    normalize : {"weights", "all", "none"}, optional
        Which projections are scaled to trace n: those of weights, or of all parameters
        without outputs (biases) too, as in the paper, or none (where None).
    relative : bool, optional
    biases : {"raw", "normalized"}, optional
        What 0.1.0 had for ``Relative(damping)`` and ``normalize="all"``, with a
        warning; gone in the next release.

    Returns
    -------
    pytree
        The new state: of an `nnx.Optimizer` its new `opt_state`. The momentum of
        `optax.trace` (that of `optax.sgd`) is zero in it, and so are gradients that
        `optax.MultiSteps` or `optax.apply_every` has added up: the old projections let
        them through, and they would go on changing what is closed now.

    Raises
    ------
    TypeError
        If `moments` is no mapping, or a second moment is not float64 or of another form
        than the layout's.
    ValueError
        If an option is not one of those listed, `state` holds other than one
        `ProjectionState` or a stack of them, there are no second moments or all are
        zero, or one is of an unknown parameter, has another shape, is not finite or not
        symmetric, or `damping` is too small for it. Under a JAX transformation values
        cannot be checked, and the projection is NaN.

    Warns
    -----
    UserWarning
        If second moments are smaller than those of the last call, which they should
        hold, or larger by so little that the task closes no tenth of a direction:
        protection is lost. Not under a JAX transformation. Or if an adaptive
        optimizer, as far as its state shows it, or noise comes after
        `project_gradients` in its chain, or before it what makes up for projections in
        its next steps.

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
    >>> rgo_jax.projection_state(state).weights["kernel"].trace().round(2)
    Array(2.03, dtype=float32)
    """
    check_choice("normalize", normalize, (None, *NORMALIZE))
    normalize = with_biases(normalize, biases, stacklevel=3) or "none"
    before = projection_state(state)
    check_single(before, "end_task")
    if damping is None:
        # With the flag of 0.1.0, what it had.
        damping = default_damping(state) if relative is None else MEASURED
    damping = with_flag(damping, relative, stacklevel=3)
    check_positive("damping", split_damping(damping)[0])
    _check_moments(before, moments)
    renewed = partial(_renewed, moments, damping, looked_up(before))
    traces = before.traces | {
        path: trace(moment).astype(jnp.float32).sum()
        for path, moment in moments.items()
    }
    after = ProjectionState(
        before.tasks + 1,
        renewed(before.weights, normalize != "none"),
        renewed(before.biases, normalize == "all"),
        traces,
        before.measured,
    )
    warn_of_loss(before, traces, moments, damping)
    warn_of_chain(state)
    return jax.tree.map(
        lambda node: wrapped_as(node, after) if is_state(node) else node,
        without_momentum(state),
        is_leaf=is_state,
    )


def _renewed(
    moments: Mapping[str, Moment],
    damping: Damping,
    tables: Collection[str],
    projections: Mapping[str, Projection],
    normalized: bool,
) -> dict[str, Projection]:
    """Return projections, those anew that have a second moment."""
    found = dict(projections)
    for path in (path for path in projections if path in moments):
        consolidate = partial(
            rgo_core.consolidate,
            damping=damping,
            looked_up=path in tables,
            normalized=normalized,
            xp=jnp,
        )
        found[path] = _cast(in_double(consolidate)(moments[path]), projections[path])
    return found


def _cast(projection: Projection, before: Projection) -> Projection:
    cast: Projection = jax.tree.map(
        lambda new, old: new.astype(old.dtype), projection, before
    )
    return cast


def _check_moments(state: ProjectionState, moments: Mapping[str, Moment]) -> None:
    check_mapping("moments", moments)
    projections = {**state.weights, **state.biases}
    unknown = sorted(set(moments) - set(projections))
    if unknown:
        raise ValueError(
            f"moments must be named after projected parameters, got {unknown}; there "
            f"are {sorted(projections)}; where the optimizer projects these alone, as "
            "inside of optax.masked, give empty_moments and curvature_vectors "
            f"find_layout(params, {{{unknown[0]!r}: None, ...}})"
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
            f"{way_to_grow(moment, expected[-1])}"
        )
    check_finite(f"{path}: a second moment", moment[0], jnp)
