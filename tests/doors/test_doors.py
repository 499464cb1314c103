"""Every door of both backends against one table: what one refuses the other does.

Values are concrete here: under a JAX transformation there are none to check, see the
last test.
"""

import jax
import jax.numpy as jnp
import pytest
from doors.batches import BATCHES
from doors.encodings import ENCODINGS
from doors.layouts import LAYOUTS
from doors.moments import (
    MOMENTS,
    diagonal,
    end_with_jax,
    end_with_torch,
    moments_of_jax,
    of_matrix,
    of_weight,
)
from doors.one_layer import NAN, project_with_jax
from doors.states import STATES

import rgo_jax

DOORS = LAYOUTS | MOMENTS | BATCHES | STATES | ENCODINGS


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize("door", DOORS)
def test_what_one_backend_refuses_the_other_refuses_too(
    door: str, backend: str
) -> None:
    row = DOORS[door]
    kinds = row.error if isinstance(row.error, tuple) else (row.error, row.error)
    error = kinds[backend == "jax"]
    with pytest.raises(error, match=row.message):
        (row.torch if backend == "torch" else row.jax)()


def test_a_damping_of_none_is_the_measured_one_where_the_network_is_known() -> None:
    with pytest.raises(ValueError, match="damping must be a finite number > 0, got N"):
        end_with_torch(damping=None)
    end_with_jax(damping=None)


def test_where_jax_traces_it_checks_what_is_no_value() -> None:
    end = jax.jit(rgo_jax.end_task)
    state, moments = project_with_jax(), moments_of_jax()
    with jax.enable_x64(True):
        nan = of_matrix(lambda matrix: matrix * NAN)(moments)
        other = of_weight(diagonal)(moments)
    # Of values there is nothing to see: what would be refused becomes NaN, not a P.
    assert jnp.isnan(end(state, nan).weights["weight"]).all()
    with pytest.raises(TypeError, match="got a DiagonalMoment"):
        end(state, other)
    with pytest.raises(ValueError, match="at least one parameter, got none"):
        end(state, {})
