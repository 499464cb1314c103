"""What the transformation and the end of a task refuse."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array
from jax.extend.core import jaxprs_in_params

from rgo_jax import (
    dense,
    empty_moments,
    end_task,
    find_layout,
    observe,
    project_gradients,
)


def test_nothing_to_project_is_refused() -> None:
    with pytest.raises(ValueError, match=r"there is nothing to project: {'steps':"):
        project_gradients().init({"steps": jnp.ones(3, int)})


@pytest.mark.parametrize("number", [0.5, 1j])
def test_a_trained_number_that_is_no_array_is_warned_of(number: Any) -> None:
    params = {"kernel": jnp.ones((3, 2)), "slope": number}
    layout = find_layout(params)
    advice = rf"slope: a Python number .* as jnp.asarray\({number!r}\) for slope"
    for transformation in (project_gradients(), project_gradients(layout)):
        with pytest.warns(UserWarning, match=advice) as told:
            state = transformation.init(params)
        assert len(told) == 1
    gradients = {"kernel": jnp.ones((3, 2)), "slope": jnp.ones(())}
    with pytest.raises(ValueError, match=r"slope: .*or no array then .*jnp.asarray of"):
        project_gradients().update(gradients, state)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_weights_in_half_precision_are_warned_of_once(dtype: Any) -> None:
    params = {"kernel": jnp.ones((3, 2), dtype), "bias": jnp.ones(2, dtype)}
    optimizer = optax.chain(project_gradients(), optax.sgd(0.1))
    message = rf"^bias, kernel: trained in {jnp.dtype(dtype)}, .* cast them in the"
    with pytest.warns(UserWarning, match=message) as told:
        optimizer.init(params)
    assert len(told) == 1


@pytest.mark.filterwarnings("error")
def test_weights_in_half_precision_that_pass_through_are_not_warned_of() -> None:
    params = {"kernel": jnp.ones((3, 2)), "table": jnp.ones((3, 2), jnp.bfloat16)}
    project_gradients(find_layout(params, {"table": None})).init(params)


@pytest.mark.filterwarnings("error")
def test_a_number_that_is_not_trained_or_an_array_is_not_warned_of() -> None:
    kernel, slope = jnp.ones((3, 2)), np.float32(0.5)
    params = {"kernel": kernel, "slope": slope, "steps": 3, "on": True}
    assert "slope" in project_gradients().init(params).biases


def test_factored_must_name_weights() -> None:
    with pytest.raises(ValueError, match=r"factored must name weights among \['w'\], "):
        project_gradients(factored=["v"]).init({"w": jnp.ones((2, 2))})


@pytest.mark.parametrize("count", [0, 2])
def test_a_state_without_one_projection_is_refused(count: int) -> None:
    state = tuple(project_gradients().init({"w": jnp.eye(2)}) for _ in range(count))
    with pytest.raises(
        ValueError, match=rf"one project_gradients, got one with {count}"
    ):
        end_task(state, {})


LAYERS = {
    name: {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)} for name in ("l1", "l2")
}
SEEN = {f"{name}/kernel": jnp.ones((2, 3)) for name in LAYERS}


def test_moments_of_what_is_masked_are_refused_with_the_layout_to_give() -> None:
    masked = optax.masked(project_gradients(), {"l1": True, "l2": False})
    state = masked.init(LAYERS)
    message = (
        r"got \['l2/kernel'\]; .* these alone, as inside of optax.masked, give .* "
        r"find_layout\(params, \{'l2/kernel': None"
    )
    with pytest.raises(ValueError, match=message):
        end_task(state, observe({}, SEEN))
    layout = find_layout(LAYERS, {"l2/kernel": None, "l2/bias": None})
    moments = observe(empty_moments(LAYERS, layout), {"l1/kernel": jnp.ones((2, 3))})
    assert end_task(state, moments)


def test_a_state_of_parts_with_their_own_projections_is_refused_with_the_way() -> None:
    def parts(*after: Any) -> Any:
        chains = {name: optax.chain(optax.adam(0.1), *after) for name in LAYERS}
        return optax.multi_transform(chains, {name: name for name in LAYERS})

    moments = observe({}, SEEN)
    state = parts(project_gradients()).init(LAYERS)
    message = r"with 2; put one around .*, as chain\(multi_transform\(...\), project_g"
    with pytest.raises(ValueError, match=message):
        end_task(state, moments)
    around = optax.chain(parts(), project_gradients())
    assert end_task(around.init(LAYERS), moments)


def changed_moment(**changes: Any) -> Any:
    moment = observe({}, {"w": jnp.ones((1, 2))})["w"]
    with jax.enable_x64(True):
        return moment._replace(**{k: v(moment) for k, v in changes.items()})


@pytest.mark.parametrize(
    ("moments", "kind", "message"),
    [
        ({"v": changed_moment()}, ValueError, r"named after projected .* got \['v'\]"),
        (
            {"w": changed_moment(matrix=lambda m: m.matrix.astype(jnp.float32))},
            TypeError,
            r"w: expected a second moment in float64, got float32",
        ),
        (
            {"w": changed_moment(matrix=lambda m: m.matrix[:1, :1])},
            ValueError,
            r"w: expected a second moment of shape \(2, 2\), got \(1, 1\)",
        ),
        (
            {"w": changed_moment(matrix=lambda m: m.matrix.at[0, 0].set(jnp.nan))},
            ValueError,
            r"w: a second moment must be finite, got 1 NaN",
        ),
    ],
)
def test_moments_that_do_not_fit_are_refused(
    moments: Any, kind: type[Exception], message: str
) -> None:
    state = project_gradients().init({"w": jnp.eye(2)})
    with pytest.raises(kind, match=message):
        end_task(state, moments)


def test_a_head_that_has_grown_is_refused_with_the_way_on() -> None:
    old = {"kernel": jnp.ones((3, 4)), "bias": jnp.ones(4), "gate": jnp.ones(4)}
    new = {"kernel": jnp.ones((3, 6)), "bias": jnp.ones(6), "gate": jnp.ones(6)}
    transformation = project_gradients()
    vectors = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones((2, 4))}
    moments = observe(empty_moments(old), {**vectors, "gate": jnp.ones((2, 4))})
    with pytest.raises(ValueError, match="if one has grown, make the state anew by"):
        transformation.update(new, transformation.init(old))
    fields = {"bias": "SecondMoment", "gate": "DiagonalMoment"}
    for path, kind in fields.items():
        shape = r"\(6, 6\), got \(4, 4\)" if path == "bias" else r"\(6,\), got \(4,\)"
        way = rf"if the .* has grown, .* rgo_core.{kind}\(numpy.pad\(moment\..*\(0, 2\)"
        with pytest.raises(ValueError, match=f"{path}: .*{shape}; {way}"):
            end_task(transformation.init(new), {path: moments[path]})
        with pytest.raises(
            ValueError, match=rf"{path}: .* of 4 features, .* got 6; {way}"
        ):
            observe(moments, {path: jnp.ones((2, 6))})
    # What has shrunk, or is of several groups, is not padded so.
    with pytest.raises(ValueError, match=r"shape \(4, 4\), got \(6, 6\)$"):
        end_task(transformation.init(old), observe({}, {"bias": jnp.ones((1, 6))}))
    grouped = observe({}, {"stack": jnp.ones((2, 1, 4))})
    with pytest.raises(ValueError, match=r"of 4 features, .* has, got 6$"):
        observe(grouped, {"stack": jnp.ones((2, 1, 6))})


def test_traced_moments_that_are_not_finite_make_nan() -> None:
    state = project_gradients().init({"w": jnp.eye(2)})
    bad = changed_moment(matrix=lambda m: m.matrix.at[0, 0].set(jnp.nan))
    after = jax.jit(lambda state, moment: end_task(state, {"w": moment}))(state, bad)
    assert bool(jnp.isnan(after.weights["w"]).all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"damping": 0.0}, r"damping must be a finite number > 0, got 0.0"),
        ({"biases": "frozen"}, r"biases must be 'raw' or 'normalized', got 'frozen'"),
    ],
)
def test_options_that_do_not_exist_are_refused(
    options: dict[str, Any], message: str
) -> None:
    state = project_gradients().init({"w": jnp.eye(2)})
    with pytest.raises(ValueError, match=message):
        end_task(state, {}, **options)


def products_of(program: Any) -> list[Any]:
    """Return the precision of every matrix product in a program, however deep."""
    found = []
    for equation in program.eqns:
        if equation.primitive.name == "dot_general":
            found.append(equation.params["precision"])
        for inner in jaxprs_in_params(equation.params):
            found += products_of(inner)
    return found


HIGHEST = (jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)


def test_updates_are_projected_in_true_float32() -> None:
    params = {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)}
    transformation = project_gradients()
    state = transformation.init(params)
    program = jax.make_jaxpr(transformation.update)(params, state)
    assert products_of(program.jaxpr) == [HIGHEST, HIGHEST]


def test_the_gradient_of_a_factored_layer_is_projected_in_true_float32() -> None:
    inputs, kernel, P = jnp.ones((2, 3)), jnp.ones((3, 4)), jnp.eye(3)

    def value(kernel: Array) -> Array:
        return dense(inputs, kernel, projection=P).sum()

    program = jax.make_jaxpr(jax.grad(value))(kernel)
    # X W as the network has it; X P, and (X P)^T D.
    assert products_of(program.jaxpr).count(HIGHEST) == 2


def test_the_damping_that_is_left_out_is_the_measured_one() -> None:
    state = project_gradients().init({"kernel": jnp.ones((3, 2))})
    moments = observe({}, {"kernel": jnp.asarray([[1.0, 2.0, 3.0]])})
    left, given = end_task(state, moments), end_task(state, moments, damping=0.1)
    np.testing.assert_array_equal(left.weights["kernel"], given.weights["kernel"])
    other = end_task(state, moments, damping=0.3)
    assert not np.allclose(left.weights["kernel"], other.weights["kernel"])
