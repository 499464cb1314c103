"""How much of a step the second moments of a network still leave free."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax import Array

import rgo_core
from rgo_core._checks import check_finite, check_mapping, check_positive
from rgo_core.damping import Damping, split_damping
from rgo_jax.chain import default_damping
from rgo_jax.double import check_kept_double, in_double
from rgo_jax.forms import Moment
from rgo_jax.projection import (
    MEASURED,
    looked_up,
    projection_state,
)
from rgo_jax.ranks import any_ranks


@any_ranks
def plasticity(
    moments: Mapping[str, Moment],
    *,
    damping: Damping | None = None,
    state: Any = None,
) -> dict[str, Array]:
    """Return how much of a step is still free, by parameter: ``trace(Q) / n``.

    ``Q = (I + H / alpha)^-1``: 1 where nothing was observed, 0 where every direction is
    closed. Of a parameter in groups the mean.

    Parameters
    ----------
    moments : mapping of str to SecondMoment, DiagonalMoment or SketchedMoment
        Of all tasks so far, as `end_task` is given them.
    damping : float or rgo_core.Relative
        alpha > 0, as `end_task` is given it; where None, what that takes for `state`,
        or of a multilayer perceptron where there is none.
    state : pytree, optional
        The state of the optimizer. It tells which second moments are of tables, as of
        words, in which a relative damping counts otherwise; a second moment alone does
        not.

    Returns
    -------
    dict of str to array ()
        By path, in float32.

    Raises
    ------
    TypeError
        If `moments` is no mapping, or a second moment is not in float64.
    ValueError
        If a second moment is not finite or not symmetric, or `damping` is not positive
        or too small for it, or `state` holds other than one `ProjectionState`. Under a
        JAX transformation values cannot be checked.

    Notes
    -----
    One Cholesky inverse of n x n in float64 a parameter: from H and not from the
    projections, which may be scaled. Pure; may be compiled, scanned and mapped.

    References
    ----------
    `rgo_core.plasticity`.

    Examples
    --------
    >>> import jax.numpy as jnp, rgo_jax
    >>> moments = rgo_jax.observe({}, {"kernel": 1e6 * jnp.eye(4)[:1]})
    >>> float(rgo_jax.plasticity(moments)["kernel"].round(6))
    0.75
    """
    check_mapping("moments", moments)
    if damping is None:
        damping = MEASURED if state is None else default_damping(state)
    check_positive("damping", split_damping(damping)[0])
    tables = set() if state is None else looked_up(projection_state(state))

    def free(is_table: bool, moment: Moment) -> Array:
        projection = rgo_core.consolidate(
            moment, damping, looked_up=is_table, normalized=False, xp=jnp
        )
        left: Array = rgo_core.plasticity(projection, xp=jnp)
        return left

    found = {}
    for path, moment in moments.items():
        check_kept_double(path, moment)
        check_finite(f"{path}: a second moment", moment[0], jnp)
        each: Array = in_double(partial(free, path in tables))(moment)
        found[path] = each.astype(jnp.float32).mean()
    return found
