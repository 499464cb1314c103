"""The projections in the state of an optimizer: made, found, unwrapped."""

import sys
import warnings
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rgo_core import DiagonalProjection
from rgo_core._checks import few_names
from rgo_core.damping import (
    RELATIVE_DAMPING,
    Damping,
    measured_damping,
)
from rgo_jax.forms import (
    Projection,
    identity_form,
)
from rgo_jax.kinds import is_plain
from rgo_jax.layout import AS_ASKED, Layout, named_leaves

# For one ground-truth vector a sample, encoded features and projections as they are.
MEASURED: Final = measured_damping("sample", "mean", scaled=False)


class PerceptronDamping(NamedTuple):
    """The damping that was measured for multilayer perceptrons: no leaf of a state.

    Without fields, it is written and read by all that knows states of optax.
    """

    @property
    def damping(self) -> Damping:
        """Of every second moment the same."""
        return MEASURED


class DeepDamping(NamedTuple):
    """The damping that was measured for all other networks: no leaf of a state."""

    @property
    def damping(self) -> Damping:
        """A share of each second moment."""
        return RELATIVE_DAMPING


class ProjectionState(NamedTuple):
    """The projections of a network, by the paths of its parameters.

    Arrays (groups..., n, n), or the `rgo_core.DiagonalProjection` or
    `rgo_core.LowRankProjection` that the layout asks for; float32 or float64.
    """

    tasks: Array  # () int32, tasks ended
    weights: dict[str, Projection]  # scaled to trace n where asked for
    biases: dict[str, Projection]  # of all parameters without outputs
    traces: dict[str, Array]  # () float32 each, of the H that a projection is made of
    # Where gradients are projected.
    measured: PerceptronDamping | DeepDamping = PerceptronDamping()


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
    nodes = [n for n in jax.tree.leaves(state, is_leaf=is_state) if is_state(n)]
    if len(nodes) != 1:
        raise ValueError(
            "expected the state of an optimizer with one project_gradients, got one "
            f"with {len(nodes)}; put one around what optax.multi_transform or "
            "optax.partition takes apart, as "
            "chain(multi_transform(...), project_gradients())"
        )
    found: ProjectionState = _unwrapped(nodes[0])
    return found


def looked_up(state: ProjectionState) -> set[str]:
    """Return the paths of the tables whose rows are looked up, as words are."""
    return {
        path
        for path, projection in state.weights.items()
        if isinstance(projection, DiagonalProjection)
    }


def is_state(node: Any) -> bool:
    """Whether a node of a tree is that state."""
    return isinstance(node, ProjectionState)


def check_single(state: ProjectionState, call: str) -> None:
    """Raise ValueError of the states of several networks in one, as of an ensemble."""
    if jnp.ndim(state.tasks):
        raise ValueError(
            "expected the state of one network, got a stack of shape "
            f"{jnp.shape(state.tasks)}, as jax.vmap of init makes it: map this call "
            f"too, as jax.vmap({call})"
        )


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


def wrapped_as(before: ProjectionState, after: ProjectionState) -> ProjectionState:
    """Return the new state in the variables that held the one before."""
    wrapped: ProjectionState = jax.tree.unflatten(
        jax.tree.structure(before), jax.tree.leaves(after)
    )
    return wrapped


def identities(params: Any, layout: Layout) -> ProjectionState:
    """Return the state before the first task.

    Raises
    ------
    ValueError
        If the layout leaves nothing to project.

    Warns
    -----
    UserWarning
        If what can be trained is passed through, and not because it was asked for; or
        is kept in half precision.
    """
    weights: dict[str, Projection] = {}
    biases: dict[str, Projection] = {}
    for path, leaf in named_leaves(params):
        if path in layout.axes:
            kept = weights if layout.axes[path].outputs else biases
            kept[path] = identity_form(path, leaf, layout)
    _warn_of_passed(params, layout)
    _warn_of_numbers(params)
    _warn_of_half(params, layout)
    if not weights and not biases:
        raise ValueError(
            f"there is nothing to project: {dict(layout.passed)} are passed through"
        )
    traces = {path: jnp.zeros((), jnp.float32) for path in (*weights, *biases)}
    measured = PerceptronDamping() if is_plain(layout.axes) else DeepDamping()
    ended = jnp.zeros((), jnp.int32)
    return ProjectionState(ended, weights, biases, traces, measured)


def _warn_of_passed(params: Any, layout: Layout) -> None:
    bare = {
        path: reason
        for path, leaf in named_leaves(params)
        if (reason := layout.passed.get(path, AS_ASKED)) != AS_ASKED
        and jnp.issubdtype(getattr(leaf, "dtype", int), jnp.inexact)
    }
    if not bare:
        return
    named = ", ".join(f"{path}: {reason}" for path, reason in bare.items())
    is_complex = any("complex" in reason for reason in bare.values())
    mend = "give find_layout their Axes"
    if is_complex:
        mend = "keep real and imaginary parts as two leaves"
    warnings.warn(
        f"{named}, and not protected: what they learn of a task the next ones "
        f"overwrite; {mend}, or pass find_layout(params, {{path: None}}) to say that "
        "it is meant",
        stacklevel=5,
    )


def _warn_of_numbers(params: Any) -> None:
    """Warn of numbers of Python's, which are trained as arrays are, and no arrays."""
    numbers = {
        path: leaf
        for path, leaf in named_leaves(params)
        if isinstance(leaf, float | complex) and not hasattr(leaf, "dtype")
    }
    if numbers:
        path, number = next(iter(numbers.items()))
        warnings.warn(
            f"{', '.join(numbers)}: a Python number is passed through and not "
            "protected, and is trained as an array is; make it one before "
            f"find_layout and init, as jnp.asarray({number!r}) for {path}, or keep it "
            "out of the parameters",
            stacklevel=5,
        )


def _warn_of_half(params: Any, layout: Layout) -> None:
    """Warn of weights in half precision, whose steps are rounded along closed ones."""
    half = {
        path: leaf.dtype
        for path, leaf in named_leaves(params)
        if path in layout.axes and leaf.dtype.itemsize < 4
    }
    if half:
        warnings.warn(
            f"{few_names(list(half))}: trained in {next(iter(half.values()))}, where "
            "each step is also rounded along directions that earlier tasks have "
            "closed; the smaller the steps, the larger the part of what is learned "
            "that lies there. Keep the parameters in float32, and cast them in the "
            "loss, as by jax.tree.map(lambda p: p.astype(jax.numpy.bfloat16), params)",
            stacklevel=5,
        )
