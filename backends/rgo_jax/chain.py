"""What stands before and after the projections in a chain of transformations."""

import warnings
from collections import OrderedDict
from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rgo_core.damping import UPDATE_DAMPING, Damping
from rgo_jax.projection import is_state, projection_state

# Of what keeps arrays for parameters and yet sums what it is given, or scales all of it
# by one number, so that projected gradients remain so. What others do is not known:
# divide by a running norm, take signs, turn to another basis.
SUMMING = tuple(
    getattr(optax, name)
    for name in (
        *("TraceState", "EmaState", "ApplyEvery", "MonitorState", "SnapshotState"),
        *("ScaleByBacktrackingLinesearchState", "ScaleByZoomLinesearchState"),
    )
    if hasattr(optax, name)
)

MOMENTUM = (optax.TraceState, optax.EmaState, optax.ApplyEvery)

# What counts on its steps being taken as they are: it aims at a point that it keeps,
# or steps back to one, or lengthens its steps while a gradient keeps its sign.
WRAPPING = ("MechanicState", "SAMState")
COUNTING = (
    *("COCOBState", "DAdaptAdamWState", "MadgradState", "ScaleByRpropState"),
    *WRAPPING,
)

# What adds noise to each step, in every direction.
NOISY = ("AddNoiseState", "DifferentiallyPrivateAggregateState")

# The states of `optax.chain`, as they are and as files give them back, and those of
# `optax.named_chain`; a plain dictionary is of parameters or of their groups.
CHAINS = (tuple, list, OrderedDict)


def default_damping(state: Any) -> Damping:
    """Return the damping that was measured for the state of an optimizer.

    That of the network, or that of updates where an optimizer comes before in a chain.
    """
    measured = projection_state(state).measured.damping
    before, _ = _beside(state)
    return UPDATE_DAMPING if any(map(_adapts, before)) else measured


def warn_of_chain(state: Any) -> None:
    """Warn where a chain undoes what it is given, or tests other weights."""
    before, after = _beside(state)
    rescale = [name for each in after for name in _rescales(each)]
    if rescale:
        warnings.warn(
            f"{', '.join(rescale)}: comes after project_gradients and rescales the "
            "gradient, or may, which undoes a projection of it; chain it before, as "
            "chain(scale_by_adam(), project_gradients(), scale(-lr))",
            stacklevel=4,
        )
    noisy = _within(after, NOISY)
    if noisy:
        warnings.warn(
            f"{', '.join(noisy)}: comes after project_gradients and adds noise along "
            "directions that earlier tasks have closed; chain it before, as "
            "chain(add_noise(...), project_gradients(), sgd(lr))",
            stacklevel=4,
        )
    counting = _within(before, COUNTING)
    if counting:
        wraps = any(name in WRAPPING for name in counting)
        inside = "mechanize(chain(adam(lr), project_gradients()))"
        warnings.warn(
            f"{', '.join(counting)}: comes before project_gradients and counts on its "
            "steps being taken as they are: what a projection takes of one the next "
            f"make up for; {f'wrap both, as {inside}' if wraps else 'use another one'}",
            stacklevel=4,
        )
    if _within(state, ("ScheduleFreeState",)):
        warnings.warn(
            "a schedule-free optimizer steps one copy of the weights and tests their "
            "average, which goes on moving: old tasks are not protected; use the "
            "optimizer that it was made from, with a schedule",
            stacklevel=4,
        )
    if any(map(_is_apart, jax.tree.leaves(state, is_leaf=_is_lookahead))):
        warnings.warn(
            "a Lookahead's fast weights are not those that it keeps: what they differ "
            "by is taken in the next task without a projection; end a task at a "
            "multiple of sync_period steps",
            stacklevel=4,
        )


def without_momentum(state: Any) -> Any:
    """Return the state of an optimizer without what the old projections let through.

    Momentum, and gradients that were added up; of a `optax.MultiSteps` around the
    projections they are not projected yet.
    """

    def emptied(node: Any) -> Any:
        if isinstance(node, MOMENTUM):
            return jax.tree.map(jnp.zeros_like, node)
        if not _adds_up(node):
            return node
        added = jax.tree.map(jnp.zeros_like, (node.mini_step, node.acc_grads))
        inner = without_momentum(node.inner_opt_state)
        return node._replace(
            mini_step=added[0], acc_grads=added[1], inner_opt_state=inner
        )

    def is_kept_whole(node: Any) -> bool:
        return isinstance(node, MOMENTUM) or _adds_up(node)

    return jax.tree.map(emptied, state, is_leaf=is_kept_whole)


def _adds_up(node: Any) -> bool:
    """Whether a node is the state of a `optax.MultiSteps` that holds no projections."""
    return isinstance(node, optax.MultiStepsState) and not _holds_state(node)


def _beside(state: Any) -> tuple[list[Any], list[Any]]:
    """Return what stands before the projections and after, in all chains around."""
    before: list[Any] = []
    after: list[Any] = []
    node = state
    while not is_state(node):
        children = _children(node)
        place = next(i for i, child in enumerate(children) if _holds_state(child))
        if type(node) in CHAINS:
            before += children[:place]
            after += children[place + 1 :]
        node = children[place]
    return before, after


def _children(node: Any) -> list[Any]:
    return jax.tree.leaves(node, is_leaf=lambda child: child is not node)


def _is_lookahead(node: Any) -> bool:
    return isinstance(node, optax.LookaheadState)


def _is_apart(node: Any) -> bool:
    """Whether it is a Lookahead between two synchronisations, as far as can be seen."""
    if not _is_lookahead(node) or isinstance(node.steps_since_sync, jax.core.Tracer):
        return False
    return bool(node.steps_since_sync != 0)


def _within(state: Any, names: Collection[str]) -> list[str]:
    """Return the names of the nodes of a tree that are called so."""

    def is_called(node: Any) -> bool:
        return type(node).__name__ in names

    nodes = jax.tree.leaves(state, is_leaf=is_called)
    return [type(node).__name__ for node in nodes if is_called(node)]


def _holds_state(node: Any) -> bool:
    return any(map(is_state, jax.tree.leaves(node, is_leaf=is_state)))


def _rescales(state: Any) -> list[str]:
    """Return the names of states that hold numbers for parameters and may rescale."""
    if isinstance(state, SUMMING):
        return []
    if isinstance(state, optax.MultiStepsState):
        return _rescales(state.inner_opt_state)
    parts = jax.tree.leaves(state, is_leaf=lambda n: n is not state and _is_named(n))
    found = [name for part in parts if _is_named(part) for name in _rescales(part)]
    return [type(state).__name__, *found] if any(map(_is_numbers, parts)) else found


def _is_named(node: Any) -> bool:
    """Whether a node is the state of one transformation."""
    return isinstance(node, tuple) and hasattr(node, "_fields")


def _is_numbers(leaf: Any) -> bool:
    floats = hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
    return floats and jnp.ndim(leaf) > 0


def _adapts(state: Any) -> bool:
    """Whether a transformation's state holds numbers for parameters, as momentum."""
    if type(state) in CHAINS:
        return any(map(_adapts, _children(state)))
    return _is_named(state) and any(map(_is_numbers, jax.tree.leaves(state)))
