from functools import partial
from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core.tolerance import assert_close
from hypothesis import given
from jax import Array
from jax_backend.nets import draw, labels, mlp, mlp_params, score

import rgo_core
from rgo_core.cotangents import CURVATURES
from rgo_jax import (
    Axes,
    Layout,
    binary_score,
    curvature_vectors,
    empty_moments,
    observe,
    softmax_score,
    squared_error_score,
    tapped_vectors,
)


@jax.jit
def summed_gradient(params: Any, batch: Any) -> Any:
    """Return the gradient of the batch's summed score."""
    return jax.grad(lambda params: score(params, batch).sum())(params)


def vectors_of(score: Any, **options: Any) -> Any:
    """Compile the vectors as one program; eagerly each operation is one."""
    return jax.jit(partial(curvature_vectors, score, **options))


def looped(params: Any, batch: Any, per: str, reduce: str) -> dict[str, np.ndarray]:
    """Return the vectors of dense layers: a plain gradient a sample, and NumPy."""
    x, y = batch
    rows = [(x[i : i + 1], y[i : i + 1]) for i in range(len(y))]
    found: dict[str, list[np.ndarray]] = {}
    for one in [batch] if per == "batch" else rows:
        gradients = summed_gradient(params, one)
        for layer, arrays in gradients.items():
            kernel = np.asarray(arrays["kernel"])
            columns = kernel.mean(1)[None]
            if reduce == "rms":
                columns = kernel.T / np.sqrt(kernel.shape[1])
            found.setdefault(f"{layer}/kernel", []).extend(columns)
            found.setdefault(f"{layer}/bias", []).append(np.asarray(arrays["bias"]))
    return {path: np.stack(rows) for path, rows in found.items()}


@pytest.mark.parametrize("per", ["sample", "batch"])
@pytest.mark.parametrize("reduce", ["mean", "rms"])
@given(seed=st.integers(0, 2**16), count=st.sampled_from([1, 5]))
def test_vectors_are_reduced_gradients(
    per: Any, reduce: Any, seed: int, count: int
) -> None:
    with jax.enable_x64(True):
        params = mlp_params((3, 5, 4), seed)
        batch = draw((count, 3), seed), labels(count, 4, seed)
        options: Any = {"per": per, "reduce": reduce}
        found = vectors_of(score, **options)(params, batch)
        expected = looped(params, batch, per, reduce)
        assert found.keys() == expected.keys()
        for path, rows in expected.items():
            assert_close(np.asarray(found[path]), rows, condition=1e3)


def test_the_exact_curvature_is_that_of_the_whole_hessian() -> None:
    with jax.enable_x64(True):
        params, x, y = mlp_params((3, 4)), draw((5, 3)), labels(5, 4)

        def exact(params: Any, batch: Any) -> Array:
            return softmax_score(mlp(params, batch[0]), batch[1], curvature="exact")

        vectors = vectors_of(exact)(params, (x, y))["layer0/bias"]
        hessians = rgo_core.softmax_hessian(np.asarray(mlp(params, x)))
        assert vectors.shape == (20, 4)
        assert_close(np.asarray(vectors.T @ vectors), hessians.sum(0))


@pytest.mark.parametrize("name", ["binary", "squared-error"])
def test_scores_of_independent_outputs_are_those_of_the_core(name: Any) -> None:
    of = binary_score if name == "binary" else squared_error_score
    with jax.enable_x64(True):
        params, x = mlp_params((3, 4)), draw((5, 3))
        mask = jnp.asarray([True, False, True, True])

        def score(params: Any, batch: Any) -> Array:
            return of(mlp(params, batch), mask=mask)

        found = vectors_of(score)(params, x)["layer0/bias"]
        outputs = np.asarray(mlp(params, x))
        expected = rgo_core.independent_cotangents(
            outputs, loss=name, mask=np.asarray(mask)
        ).reshape(-1, 4)
        assert_close(np.asarray(found.T @ found), expected.T @ expected)
    with pytest.raises(ValueError, match="logits must be numbers, got NaN"):
        of(jnp.asarray([[jnp.nan]]))


@pytest.mark.parametrize("of", [binary_score, squared_error_score])
def test_scores_of_independent_outputs_make_nothing_larger_than_they_are(
    of: Any,
) -> None:
    outputs = draw((5, 16))
    for traced in (of, jax.grad(lambda outputs: of(outputs)[3].sum())):
        made = jax.make_jaxpr(traced)(outputs).eqns
        assert max(out.aval.size for eqn in made for out in eqn.outvars) == 5 * 16


def test_a_mask_takes_classes_out_of_play() -> None:
    params, x, y = mlp_params((3, 4)), draw((5, 3)), labels(5, 2)
    mask = jnp.asarray([True, True, False, False])

    def masked(params: Any, batch: Any) -> Array:
        logits = jnp.where(mask, mlp(params, batch[0]), -jnp.inf)
        return softmax_score(logits, batch[1], mask=mask)

    def small(params: Any, batch: Any) -> Array:
        return softmax_score(mlp(params, batch[0])[:, :2], batch[1])

    found = curvature_vectors(masked, params, (x, y))["layer0/bias"]
    expected = curvature_vectors(small, params, (x, y))["layer0/bias"]
    assert bool(jnp.isfinite(found).all())
    np.testing.assert_array_equal(found, expected)


def test_the_score_is_weighted_by_a_constant() -> None:
    logits, y = draw((3, 4)), labels(3, 4)
    gradient = jax.jit(jax.grad(lambda logits: softmax_score(logits, y).sum()))(logits)
    expected = rgo_core.score_cotangents(np.asarray(logits), np.asarray(y))[0]
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("label", [-1, 4, 3])
@pytest.mark.parametrize("curvature", CURVATURES)
def test_a_label_out_of_play_is_an_error_or_scores_nothing(
    label: int, curvature: Any
) -> None:
    logits, y = draw((2, 4)), jnp.asarray([0, label])
    mask = jnp.asarray([True, True, True, False])
    scored = partial(softmax_score, curvature=curvature)
    message = rf"labels must be of the classes in play among 0..3, got \[{label}\]"
    with pytest.raises(ValueError, match=message):
        scored(logits, y, mask=mask)
    with pytest.raises(ValueError, match=message):
        jax.jit(lambda logits: scored(logits, y, mask=mask))(logits)
    if curvature != "exact":
        assert float(jax.jit(scored)(logits, y, mask=mask)[0, 1]) == 0


def test_a_traced_mask_leaves_the_range_of_labels_to_check() -> None:
    logits, y, mask = draw((2, 4)), jnp.asarray([0, 4]), jnp.ones(4, bool)
    with pytest.raises(ValueError, match=r"labels must be of .* 0..3, got \[4\]"):
        jax.jit(lambda mask: softmax_score(logits, y, mask=mask))(mask)


def test_a_layout_chooses_the_parameters() -> None:
    params, batch = mlp_params((3, 4)), (draw((5, 3)), labels(5, 4))
    layout = Layout({"layer0/kernel": Axes((1,), (0,))}, {})
    found = curvature_vectors(score, params, batch, layout=layout)
    assert {path: rows.shape for path, rows in found.items()} == {
        "layer0/kernel": (5, 4)
    }


def test_it_compiles_and_maps() -> None:
    params, batch = mlp_params((3, 4)), (draw((5, 3)), labels(5, 4))
    plain = curvature_vectors(score, params, batch)
    compiled = jax.jit(lambda p, b: curvature_vectors(score, p, b))(params, batch)
    stacked = jax.tree.map(lambda a: jnp.stack([a, a]), (params, batch))
    mapped = jax.vmap(lambda p, b: curvature_vectors(score, p, b))(*stacked)
    for path, rows in plain.items():
        np.testing.assert_allclose(compiled[path], rows, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(mapped[path][1], rows, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("shape", [(), (3,), (2, 2, 5)])
def test_scores_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    params, batch = mlp_params((3, 4)), (draw((5, 3)), labels(5, 4))
    with pytest.raises(ValueError, match=r"expected scores of shape \(b,\) or \(k, b"):
        curvature_vectors(
            lambda p, b: jnp.zeros(shape) + p["layer0"]["bias"].sum(),
            params,
            batch,
            per="batch",
        )
    with pytest.raises(ValueError, match=r"expected scores of shape \(b,\) or \(k, b"):
        tapped_vectors(lambda taps: jnp.zeros(shape), {"w": jnp.zeros((5, 2))})


@pytest.mark.parametrize("flat", [False, True])
def test_scores_of_positions_are_refused_with_how_many_samples_there_are(
    flat: bool,
) -> None:
    params, batch = {"kernel": draw((3, 4))}, (draw((5, 2, 3)), jnp.zeros((5, 2), int))

    def score(params: Any, batch: Any) -> Any:
        logits, y = batch[0] @ params["kernel"], batch[1]
        if flat:
            return softmax_score(logits.reshape(-1, 4), y.reshape(-1))
        return softmax_score(logits, y)

    got = r"\(1, 2\)" if flat else r"\(1, 1, 2\)"
    way = r"as scores.reshape\(b, -1\).sum\(-1\)"
    with pytest.raises(
        ValueError, match=f"one at a time of your 5, got {got}; .*{way}"
    ):
        curvature_vectors(score, params, batch)
    with pytest.raises(ValueError, match=f"in .5. samples, got .*sum over pos.*{way}"):
        curvature_vectors(score, params, batch, per="batch")

    def summed(params: Any, batch: Any) -> Any:
        return score(params, batch).reshape(len(batch[0]), -1).sum(-1)

    assert curvature_vectors(summed, params, batch)["kernel"].shape == (5, 3)


@pytest.mark.parametrize(("name", "value"), [("per", "task"), ("reduce", "max")])
def test_options_that_do_not_exist_are_refused(name: str, value: str) -> None:
    params, batch = mlp_params((3, 4)), (draw((5, 3)), labels(5, 4))
    with pytest.raises(ValueError, match=rf"{name} must be .* or .*, got '{value}'"):
        curvature_vectors(score, params, batch, **{name: value})


# --- second moments


@pytest.mark.parametrize("x64", [False, True])
def test_moments_are_sums_in_float64(x64: bool) -> None:
    with jax.enable_x64(x64):
        rows = draw((200, 6), dtype=jnp.float32)
        moments = observe(observe({}, {"w": rows[:64]}), {"w": rows[64:]})
        exact = np.asarray(rows, np.float64)
        assert moments["w"].matrix.dtype == jnp.float64
        assert int(np.asarray(moments["w"].count)) == 200
        assert_close(np.asarray(moments["w"].matrix), exact.T @ exact)


@pytest.mark.parametrize("x64", [False, True])
def test_moments_are_the_same_compiled_scanned_and_mapped(x64: bool) -> None:
    with jax.enable_x64(x64):
        params = {"w": jnp.ones((6, 2), jnp.float32)}
        rows = draw((3, 4, 128, 6), dtype=jnp.float32)  # seeds, blocks

        def folded(blocks: Array) -> Any:
            def step(moments: Any, block: Array) -> Any:
                return observe(moments, {"w": block}), None

            return jax.lax.scan(step, empty_moments(params), blocks)[0]

        found = jax.jit(jax.vmap(folded))(rows)["w"]
        assert found.matrix.dtype == jnp.float64
        for index in range(3):
            expected = observe({}, {"w": rows[index].reshape(-1, 6)})["w"]
            assert int(np.asarray(found.count)[index]) == 512
            assert_close(np.asarray(found.matrix)[index], np.asarray(expected.matrix))
            alone = jax.jit(folded)(rows[index])["w"]
            assert_close(np.asarray(alone.matrix), np.asarray(expected.matrix))


def test_what_was_not_observed_stays() -> None:
    before = observe({}, {"a": jnp.ones((1, 2)), "b": jnp.ones((1, 3))})
    after = observe(before, {"b": jnp.ones((1, 3))})
    assert after["a"] is before["a"]
    assert int(before["b"].count) == 1
    assert int(after["b"].count) == 2


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(
        ValueError, match=r"w: vectors must be finite, got 1 NaN or inf"
    ):
        observe({}, {"w": jnp.asarray([[1.0, bad]])})


def test_a_moment_that_was_rounded_is_refused() -> None:
    moments = observe({}, {"w": jnp.ones((1, 2))})
    rounded = moments["w"]._replace(matrix=moments["w"].matrix.astype(jnp.float32))
    with pytest.raises(TypeError, match=r"expected a second moment in float64, got"):
        observe({"w": rounded}, {"w": jnp.ones((1, 2))})


def test_empty_moments_fit_the_parameters() -> None:
    params = mlp_params((3, 4))
    moments = empty_moments(params)
    shapes = {path: moment.matrix.shape for path, moment in moments.items()}
    assert shapes == {"layer0/kernel": (3, 3), "layer0/bias": (4, 4)}


def test_a_part_observed_stands_for_the_whole() -> None:
    before = observe({}, {"w": jnp.ones((2, 3))})
    rows = {"w": jnp.asarray([[1.0, 2.0, 3.0]])}

    def part(moments: Any, rows: Any) -> Any:
        return observe(moments, rows, share=0.25)

    for found in (part(before, rows), jax.jit(part)(before, rows)):
        expected = np.ones((3, 3)) * 2 + 4 * np.outer([1, 2, 3], [1, 2, 3])
        np.testing.assert_array_equal(np.asarray(found["w"].matrix), expected)
        assert int(found["w"].count) == 3
    with pytest.raises(ValueError, match=r"share must be a number in \(0, 1\], got 2"):
        observe({}, rows, share=2)


def test_means_of_many_outputs_stay_in_range() -> None:
    """Their number squared is above int32 from 46341 on, and above float16 from 256."""
    reduce = jax.jit(lambda given: rgo_core.reduce_outputs(given, reduce="uncancelled"))
    wide = draw((2, 50257)) + 1
    np.testing.assert_allclose(reduce(wide)[:, 0], wide.mean(-1), rtol=1e-5)
    cancelling = draw((4, 512))
    cancelling -= cancelling.mean(-1, keepdims=True)
    for dtype in (jnp.float16, jnp.bfloat16):
        half = reduce(cancelling.astype(dtype)).astype(jnp.float32)
        np.testing.assert_allclose(half, reduce(cancelling), rtol=0.05, atol=1e-3)
    assert np.abs(half).max() > 0.01
