"""Every kind of layer, held against the gradients of its samples, one at a time."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core.tolerance import assert_close
from jax_backend.kinds import KINDS, Kind, Rows, entries, last, last_but_one
from jax_backend.nets import draw

import rgo_core
from rgo_jax import (
    curvature_vectors,
    empty_moments,
    end_task,
    find_layout,
    observe,
    project_gradients,
)
from rgo_jax.layout import named_leaves


def gradients_by_sample(
    apply: Any, params: Any, xs: Any
) -> list[dict[str, np.ndarray]]:
    """Return the gradient of each sample's score, by path, one at a time."""

    def score(params: Any, x: Any) -> Any:
        outputs = apply(params, x)
        weights = jnp.cos(jnp.arange(outputs.size, dtype=outputs.dtype))
        return (outputs.reshape(-1) * weights).sum()

    gradient = jax.jit(jax.grad(score))
    return [
        {path: np.asarray(leaf) for path, leaf in named_leaves(gradient(params, x))}
        for x in xs
    ]


def batched_score(apply: Any) -> Any:
    def score(params: Any, batch: Any) -> Any:
        outputs = jax.vmap(lambda x: apply(params, x))(batch)
        outputs = outputs.reshape(len(batch), -1)
        return outputs @ jnp.cos(jnp.arange(outputs.shape[1], dtype=outputs.dtype))

    return score


def hold(kind: Kind) -> None:
    """Hold what is kept of a kind, and its projection, against samples' gradients."""
    params, apply = kind.make()
    params = jax.tree.map(lambda leaf: draw(leaf.shape, 3, jnp.float64) / 2, params)
    xs = draw((3, *kind.shape), 1, jnp.float64)
    if kind.tokens:
        xs = jnp.asarray(np.random.default_rng(0).integers(7, size=(3, *kind.shape)))
    layout = find_layout(params)
    assert not layout.passed
    assert set(layout.axes) == set(kind.rows)
    assert {path for path in kind.rows if layout.axes[path].diagonal} == {
        *kind.diagonal
    }
    samples = gradients_by_sample(apply, params, xs)

    @jax.jit
    def protected(params: Any, xs: Any) -> Any:
        vectors = curvature_vectors(
            batched_score(apply), params, xs, layout=layout, reduce="rms"
        )
        moments = observe(empty_moments(params, layout), vectors)
        transformation = project_gradients(layout)
        options: Any = {"damping": 0.5, "normalize": "weights"}
        state = end_task(transformation.init(params), moments, **options)
        return moments, transformation.update(params, state)[0]

    moments, projected_params = protected(params, xs)
    updates = dict(named_leaves(projected_params))
    for path, leaf in named_leaves(params):
        rows = kind.rows[path]
        seen = np.stack([rows(sample[path]) for sample in samples])
        outputs, n = seen.shape[-2:]
        H = np.einsum("s...mn,s...mk->...nk", seen, seen) / outputs
        if path in kind.diagonal:
            H = H * np.eye(n)
            found = np.asarray(moments[path].diagonal)[..., None] * np.eye(n)
        else:
            found = np.asarray(moments[path].matrix)
        # Of a key's bias the gradient is zero up to rounding.
        assert_close(found, H, condition=1e3, scale=float(np.linalg.norm(H)) + 1e-6)
        P = np.linalg.inv(np.eye(n) + H / 0.5)
        if layout.axes[path].outputs:
            P = P * (n / np.trace(P, axis1=-2, axis2=-1))[..., None, None]
        projected = rows(np.asarray(leaf)) @ P
        condition = 1e3 * (1 + np.linalg.norm(H))
        assert_close(rows(np.asarray(updates[path])), projected, condition=condition)


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_is_protected_by_its_samples_gradients(name: str) -> None:
    with jax.enable_x64(True):
        hold(KINDS[name])


def haiku_kinds() -> dict[str, Any]:
    hk = pytest.importorskip("haiku")
    return {
        "conv": (lambda x: hk.Conv1D(3, 2)(x), (4, 2)),
        "transposed": (lambda x: hk.Conv1DTranspose(3, 2)(x), (4, 3)),
        "norm": (lambda x: hk.LayerNorm(-1, True, True)(x), (3, 4)),
        "attention": (
            lambda x: hk.MultiHeadAttention(
                2, 3, model_size=4, w_init=hk.initializers.RandomNormal()
            )(x, x, x),
            (3, 4),
        ),
        "embedding": (lambda x: hk.Embed(7, 3)(x), (4,)),
        "lstm": (lambda x: hk.LSTM(2)(x, hk.LSTM(2).initial_state(1))[0], (3,)),
        "gru": (lambda x: hk.GRU(2)(x, jnp.ones((1, 2)))[0], (3,)),
    }


def haiku_rows(path: str) -> Rows:
    """Return the rows of a parameter of Haiku's."""
    name = path.split("/")[-1]
    if name in ("w", "w_i", "w_h", "embeddings"):
        return last_but_one if "transpose" in path else last
    return entries


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "name", ["conv", "transposed", "norm", "attention", "embedding", "lstm", "gru"]
)
def test_a_kind_of_haiku_is_protected_too(name: str) -> None:
    hk = pytest.importorskip("haiku")
    function, shape = haiku_kinds()[name]
    tokens = name == "embedding"
    with jax.enable_x64(True):
        network = hk.without_apply_rng(hk.transform(function))
        x = jnp.ones((1, *shape), int if tokens else jnp.float64)
        params = jax.jit(network.init)(jax.random.key(0), x)
        paths = [path for path, _ in named_leaves(params)]
        diagonal = tuple(p for p in paths if name in ("norm", "embedding"))

        def make() -> tuple[Any, Any]:
            return params, lambda params, x: network.apply(params, x[None])

        rows = {path: haiku_rows(path) for path in paths}
        hold(Kind(make, shape, rows, diagonal=diagonal, tokens=tokens))


def test_a_sketch_of_as_many_rows_as_vectors_projects_as_the_whole_does() -> None:
    params = {"dense": {"kernel": draw((9, 3)), "bias": draw((3,))}}
    vectors = {"dense/kernel": draw((4, 9), 1), "dense/bias": draw((4, 3), 2)}
    updates = {}
    for bound in (None, 5):
        layout = find_layout(params, max_features=bound, sketch_rows=4)
        transformation = project_gradients(layout)

        @jax.jit
        def ended(state: Any, moments: Any) -> Any:
            moments = observe(moments, vectors)
            return end_task(state, moments, damping=0.1), moments

        state, moments = transformation.init(params), empty_moments(params, layout)
        state, moments = ended(state, moments)
        kind = rgo_core.SecondMoment if bound is None else rgo_core.SketchedMoment
        assert isinstance(moments["dense/kernel"], kind)
        assert isinstance(moments["dense/bias"], rgo_core.SecondMoment)
        updates[bound] = transformation.update(params, state)[0]["dense"]
    for name, found in updates[5].items():
        np.testing.assert_allclose(found, updates[None][name], rtol=1e-4, atol=1e-5)


def test_sketches_and_diagonals_are_observed_mapped_over_seeds() -> None:
    params = {"dense": {"kernel": draw((9, 3))}, "scale": draw((4,))}
    layout = find_layout(params, max_features=5, sketch_rows=4)
    rows = {"dense/kernel": draw((2, 6, 9), 1), "scale": draw((2, 6, 4), 2)}

    def run(rows: Any) -> Any:
        moments = observe(empty_moments(params, layout), rows)
        state = end_task(project_gradients(layout).init(params), moments)
        return moments, state

    mapped, _ = jax.jit(jax.vmap(run))(rows)
    run_alone = jax.jit(run)
    for seed in range(2):
        alone, _ = run_alone({path: each[seed] for path, each in rows.items()})
        for path, moment in alone.items():
            for one, other in zip(mapped[path], moment, strict=True):
                assert one.dtype == other.dtype
                if one.ndim != 3:  # the signs of a sketch's rows may differ
                    np.testing.assert_allclose(np.asarray(one)[seed], other)


def test_a_moment_of_another_form_is_refused() -> None:
    params = {"scale": jnp.ones(3)}
    state = project_gradients().init(params)
    message = "scale: expected a DiagonalMoment, as empty_moments .* got a SecondMoment"
    with pytest.raises(TypeError, match=message):
        end_task(state, observe({}, {"scale": jnp.ones((1, 3))}))


def test_updates_that_the_state_does_not_know_are_refused() -> None:
    state = project_gradients().init({"w": jnp.ones((3, 2))})
    with pytest.raises(ValueError, match=r"updates of shape \(5, 7\) do not fit the"):
        project_gradients().update({"w": jnp.ones((5, 7))}, state)
