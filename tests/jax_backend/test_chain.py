"""What comes before and after the projections in a chain of transformations."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax_backend.nets import draw, mlp_params
from jax_backend.small_projections import batch, gradient, moments_of

from rgo_jax import end_task, observe, project_gradients, projection_state


@pytest.mark.filterwarnings("ignore:.*comes after project_gradients")
def test_the_place_in_the_chain_says_what_is_projected() -> None:
    params = mlp_params((3, 4))
    moments = {"layer0/kernel": observe({}, {"k": jnp.eye(3)[:1] * 1e3})["k"]}
    gradients = gradient(params, batch())
    sizes = {}
    for name, chain in {
        "update": (optax.adam(0.1), project_gradients()),
        "gradient": (project_gradients(), optax.adam(0.1)),
    }.items():
        optimizer = optax.chain(*chain)
        state = end_task(optimizer.init(params), moments, damping=1e-4)
        updates, _ = optimizer.update(gradients, state, params)
        sizes[name] = float(jnp.abs(updates["layer0"]["kernel"][0]).max())
    # The old task needs the kernel's first row, and Adam undoes its protection.
    assert sizes["update"] < 1e-3 * sizes["gradient"]


MOMENTUM = {
    "heavy ball": optax.sgd(0.1, momentum=0.9),
    "nesterov": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "average": optax.chain(optax.ema(0.9), optax.scale(-0.1)),
}


@pytest.mark.parametrize("kind", MOMENTUM)
def test_a_task_begins_without_the_momentum_of_the_one_before(kind: str) -> None:
    params = mlp_params((3, 5, 4))
    optimizer = optax.chain(project_gradients(), MOMENTUM[kind])
    state = optimizer.init(params)
    _, state = optimizer.update(gradient(params, batch()), state, params)
    nothing = jax.tree.map(jnp.zeros_like, params)
    carried, _ = optimizer.update(nothing, state, params)
    assert any(update.any() for update in jax.tree.leaves(carried))
    ended = end_task(state, moments_of(params))
    still, _ = optimizer.update(nothing, ended, params)
    assert not any(update.any() for update in jax.tree.leaves(still))
    assert jax.tree.structure(ended) == jax.tree.structure(state)


ADDING = {
    "several steps": optax.MultiSteps(MOMENTUM["heavy ball"], 4),
    "apply every": optax.chain(optax.apply_every(4), optax.scale(-0.1)),
}


@pytest.mark.parametrize("kind", ADDING)
def test_a_task_begins_without_gradients_that_were_added_up(kind: str) -> None:
    params = {"kernel": jnp.zeros((2, 3))}
    optimizer = optax.chain(project_gradients(), ADDING[kind])
    state = optimizer.init(params)
    ones, nothing = jax.tree.map(jnp.ones_like, params), params
    for _ in range(7):
        _, state = optimizer.update(ones, state, params)
    ended = end_task(state, observe({}, {"kernel": jnp.asarray([[1e4, 0.0]])}))
    assert jax.tree.structure(ended) == jax.tree.structure(state)
    for _ in range(4):
        updates, ended = optimizer.update(nothing, ended, params)
        assert not updates["kernel"].any()


def test_gradients_that_are_not_projected_yet_are_kept() -> None:
    params = {"kernel": jnp.zeros((2, 3))}
    projected = optax.chain(project_gradients(), optax.sgd(0.1))
    optimizer = optax.MultiSteps(projected, 2).gradient_transformation()
    ones = jax.tree.map(jnp.ones_like, params)
    _, state = optimizer.update(ones, optimizer.init(params), params)
    ended = end_task(state, observe({}, {"kernel": jnp.asarray([[1e4, 0.0]])}))
    updates, _ = optimizer.update(ones, ended, params)
    np.testing.assert_allclose(updates["kernel"][1], -0.1, rtol=1e-6)
    assert jnp.abs(updates["kernel"][0]).max() < 1e-6


RESCALING = {
    "ScaleByAdamState": optax.adam(0.1),
    "ScaleByLionState": optax.lion(0.1),
    "FactoredState": optax.adafactor(0.1, min_dim_size_to_factor=1),
    "MuonState": optax.contrib.muon(0.1),
    "SophiaState": optax.contrib.sophia(0.1),
}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("name", RESCALING)
def test_what_rescales_projected_gradients_is_warned_of(
    name: str, nested: bool
) -> None:
    params = mlp_params((3, 5, 4))
    optimizer = optax.chain(project_gradients(), optax.clip(1.0), RESCALING[name])
    if nested:
        optimizer = optax.MultiSteps(optimizer, 2)
    message = f"{name}.*: comes after project_gradients and rescales the gradient, or"
    with pytest.warns(UserWarning, match=message) as found:
        end_task(optimizer.init(params), moments_of(params))
    assert found[0].filename == __file__


STATELESS = {
    "sign_sgd": optax.sign_sgd(0.1),
    "signum": optax.signum(0.1),
    "clip": optax.clip(1e-4),
    "centralize": optax.centralize(),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", STATELESS)
def test_what_has_no_state_comes_before_though_nothing_warns(name: str) -> None:
    gradients = {"weight": draw((4, 3))}
    closed = jnp.asarray([[1.0], [2.0], [0.0]])
    moments = observe({}, {"weight": closed.T * 1e3})
    shares = []
    for chain in (
        (STATELESS[name], project_gradients()),
        (project_gradients(), STATELESS[name]),
    ):
        optimizer = optax.chain(*chain)
        state = end_task(optimizer.init(gradients), moments, damping=1e-4)
        weight = optimizer.update(gradients, state, gradients)[0]["weight"]
        shares.append(float(jnp.abs(weight @ closed).max() / jnp.abs(weight).max()))
    assert shares[0] < 1e-4
    assert shares[1] > 1e-2


NOISY = {
    "AddNoiseState": optax.add_noise(0.1, 0.5, 0),
    "DifferentiallyPrivateAggregateState": (
        optax.contrib.differentially_private_aggregate(1.0, 0.1, 0)
    ),
}


@pytest.mark.parametrize("name", NOISY)
def test_noise_that_is_not_projected_is_warned_of(name: str) -> None:
    params = mlp_params((3, 5, 4))
    optimizer = optax.chain(project_gradients(), optax.chain(NOISY[name]))
    message = f"{name}: comes after project_gradients and adds noise along directions"
    with pytest.warns(UserWarning, match=message) as found:
        end_task(optimizer.init(params), moments_of(params))
    assert found[0].filename == __file__


@pytest.mark.filterwarnings("error")
def test_noise_before_the_projections_is_projected() -> None:
    params = {"kernel": jnp.zeros((2, 3))}
    moments = observe({}, {"kernel": jnp.asarray([[1e4, 0.0]])})
    optimizer = optax.chain(NOISY["AddNoiseState"], project_gradients())
    state = end_task(optimizer.init(params), moments)
    moved = jnp.abs(optimizer.update(params, state)[0]["kernel"]).max(1)
    assert moved[0] < 1e-4 < moved[1]


def test_a_chain_with_names_is_one_too() -> None:
    params = mlp_params((3, 5, 4))
    moments = moments_of(params)
    adam = ("z", optax.adam(0.1))
    rescaled = optax.named_chain(("p", project_gradients()), adam)
    with pytest.warns(UserWarning, match="ScaleByAdamState: comes after project_grad"):
        end_task(rescaled.init(params), moments)
    cocob = ("z", optax.contrib.cocob())
    counting = optax.named_chain(cocob, ("p", project_gradients()))
    with pytest.warns(UserWarning, match="COCOBState: comes before project_gradients"):
        end_task(counting.init(params), moments)
    found = {}
    for kind, optimizer in {
        "named": optax.named_chain(adam, ("p", project_gradients())),
        "plain": optax.chain(adam[1], project_gradients()),
    }.items():
        state = end_task(optimizer.init(params), moments)
        found[kind] = projection_state(state).weights
    for path, projection in found["plain"].items():
        np.testing.assert_array_equal(found["named"][path], projection)


@pytest.mark.parametrize("inside", [False, True])
def test_a_schedule_free_optimizer_is_warned_of(inside: bool) -> None:
    params = mlp_params((3, 5, 4))
    sgd = optax.sgd(0.1)
    if inside:
        projected = optax.chain(project_gradients(), sgd)
        optimizer = optax.contrib.schedule_free(projected, 0.1)
    else:
        free = optax.contrib.schedule_free(sgd, 0.1)
        optimizer = optax.chain(free, project_gradients())
    with pytest.warns(UserWarning, match="schedule-free optimizer steps one copy"):
        end_task(optimizer.init(params), moments_of(params))


COUNTING = {
    "COCOBState": optax.contrib.cocob(),
    "DAdaptAdamWState": optax.contrib.dadapt_adamw(),
    "MadgradState": optax.contrib.madgrad(0.1),
    "MechanicState": optax.contrib.mechanize(optax.adam(0.1)),
    "SAMState": optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.1)),
    "ScaleByRpropState": optax.rprop(0.1),
}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("name", COUNTING)
def test_what_makes_up_for_a_projection_of_its_steps_is_warned_of(
    name: str, nested: bool
) -> None:
    params = mlp_params((3, 5, 4))
    before = COUNTING[name]
    if nested:
        before = optax.chain(optax.clip(1.0), optax.masked(before, lambda _: True))
    optimizer = optax.chain(before, project_gradients())
    wraps = name in ("MechanicState", "SAMState")
    message = f"{name}: comes before project_gradients and counts on its steps.*" + (
        r"wrap both, as mechanize\(chain\(adam" if wraps else "use another one"
    )
    with pytest.warns(UserWarning, match=message) as found:
        end_task(optimizer.init(params), moments_of(params))
    assert found[0].filename == __file__


def test_a_closed_direction_is_crossed_by_what_makes_up_for_it() -> None:
    params = {"kernel": jnp.zeros((2, 3))}
    moments = observe({}, {"kernel": jnp.asarray([[30.0, 0.0]])})

    def crossed(kind: optax.GradientTransformation) -> float:
        optimizer = optax.chain(kind, project_gradients())
        state = end_task(optimizer.init(params), moments, damping=1.0)

        def step(carried: tuple, _: None) -> tuple:
            weights, state = carried
            missing = jax.tree.map(lambda w: w - 1.0, weights)
            updates, state = optimizer.update(missing, state, weights)
            return (optax.apply_updates(weights, updates), state), None

        (weights, _), _ = jax.lax.scan(step, (params, state), length=300)
        return float(weights["kernel"][0].mean())

    assert crossed(optax.adam(0.1)) < 0.05
    for name in set(COUNTING) - {"MechanicState", "SAMState"}:
        with pytest.warns(UserWarning, match=name):
            assert crossed(COUNTING[name]) > 0.5


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", MOMENTUM)
def test_what_sums_them_is_not(kind: str) -> None:
    params = mlp_params((3, 5, 4))
    for optimizer in (
        optax.chain(project_gradients(), MOMENTUM[kind]),
        optax.chain(project_gradients(), optax.MultiSteps(MOMENTUM[kind], 2)),
        optax.chain(project_gradients(), optax.masked(MOMENTUM[kind], lambda _: True)),
        optax.chain(project_gradients(), optax.apply_every(2), optax.scale(-0.1)),
        optax.chain(
            project_gradients(), optax.inject_hyperparams(optax.sgd)(learning_rate=0.1)
        ),
        optax.lookahead(optax.chain(project_gradients(), optax.sgd(0.1)), 5, 0.5),
        optax.chain(optax.adam(0.1), project_gradients()),
        optax.chain(optax.contrib.prodigy(), project_gradients()),
        optax.contrib.mechanize(optax.chain(optax.adam(0.1), project_gradients())),
        optax.chain(optax.scale_by_adam(), project_gradients(), optax.scale(-0.1)),
    ):
        end_task(optimizer.init(params), moments_of(params))


@pytest.mark.parametrize("steps", [2, 3])
def test_a_lookahead_ends_a_task_where_its_weights_are_one(steps: int) -> None:
    inner = optax.chain(project_gradients(), optax.sgd(0.1))
    optimizer = optax.lookahead(inner, sync_period=3, slow_step_size=0.5)
    weights = {"kernel": jnp.ones((2, 3))}
    params = optax.LookaheadParams.init_synced(weights)
    state = optimizer.init(params)
    for _ in range(steps):
        updates, state = optimizer.update(weights, state, params)
        params = optax.apply_updates(params, updates)
    moments = observe({}, {"kernel": jnp.ones((4, 2))})
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        end_task(state, moments)
    assert [("multiple of sync_period" in str(w.message)) for w in told] == (
        [True] if steps == 2 else []
    )
