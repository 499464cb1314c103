"""Devices that saw parts of the data know what one would."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rgo_core
import rgo_jax

SCRIPT = Path(__file__).with_name("four_devices.py")
ROUNDING = 1e-5  # of three steps of float32 and two tasks, summed in another order


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """Return what four devices of a process of their own have found."""
    ended = subprocess.run(
        [sys.executable, SCRIPT],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        stdout=subprocess.PIPE,
        timeout=300,
    )
    answer: dict[str, Any] = json.loads(ended.stdout)
    assert answer["devices"] == 4
    return answer


@pytest.mark.parametrize("kind", ["data", "loose"])
def test_samples_on_four_devices_give_the_numbers_of_one(
    found: dict, kind: str
) -> None:
    # JAX checks what varies from device to device, or does not.
    assert all(distance < ROUNDING for distance in found[kind])


def test_taps_and_factored_projections_do_too(found: dict) -> None:
    assert found["taps"] < ROUNDING


@pytest.mark.parametrize("kind", ["auto", "explicit"])
@pytest.mark.parametrize("case", ["whole taps", "whole gradient", "parted taps"])
def test_a_convolution_is_observed_on_four_devices_as_on_one(
    found: dict, kind: str, case: str
) -> None:
    # Taps also where nothing is compiled.
    assert all(distance < ROUNDING for distance in found[kind][case])


@pytest.mark.parametrize("kind", ["auto", "explicit"])
def test_sharded_samples_of_convolutions_are_refused_where_xla_mixes_them_up(
    found: dict, kind: str
) -> None:
    message = (
        "expected a batch that is whole on every device, for of single samples that "
        "are sharded XLA computes wrong gradients in convolutions, got P"
    )
    for refused in found[kind]["parted gradient"]:
        assert message in refused
        assert "observe each device's samples inside of jax.shard_map" in refused


def test_a_factored_layer_may_have_samples_on_explicit_axes(found: dict) -> None:
    assert found["explicit step"] < ROUNDING
    assert found["explicit taps"] < ROUNDING


def test_weights_and_projections_may_be_sharded_besides(found: dict) -> None:
    assert all(distance < ROUNDING for distance in found["model"])
    assert found["shards"] == [[6, 12]]


def test_a_mesh_compiles_as_often_as_one_device(found: dict) -> None:
    assert found["traced"]["observe"] == 1
    assert found["traced"]["step"] <= 2  # after the first task P lies where it was made


def test_sketches_of_several_devices_are_merged() -> None:
    rows = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 6)), jnp.float32)
    with jax.enable_x64(True):
        empty = rgo_core.empty_sketch(6, 2, xp=jnp)

    def seen(rows: jax.Array) -> Any:
        own = rgo_jax.observe({"kernel": empty}, {"kernel": rows})
        return rgo_jax.summed(own, "data")["kernel"]

    sketch = jax.jit(jax.vmap(seen, axis_name="data"))(rows)
    every = np.asarray(rows, np.float64).reshape(-1, 6)
    assert sketch.count.tolist() == [8, 8]
    np.testing.assert_allclose(sketch.trace, np.full(2, (every**2).sum()), rtol=1e-12)
    first = np.asarray(sketch.rows)[0]
    left = np.linalg.eigvalsh(every.T @ every - first.T @ first)
    assert left.min() > -1e-9
    assert left.max() <= float(sketch.shrunk[0]) + 1e-9


def test_sums_are_added_to_what_all_have_in_common() -> None:
    rows = jnp.ones((2, 1, 3))
    before = rgo_jax.observe(
        {}, {"kernel": jnp.ones((5, 3)), "other": jnp.ones((1, 2))}
    )

    def seen(rows: jax.Array) -> Any:
        own = rgo_jax.observe({}, {"kernel": rows})
        return rgo_jax.summed(own, "data", before=before)

    moments = jax.jit(jax.vmap(seen, axis_name="data"))(rows)
    assert moments["kernel"].count.tolist() == [7, 7]
    assert np.array_equal(moments["kernel"].matrix, np.full((2, 3, 3), 7.0))
    assert set(moments) == {"kernel", "other"}


def test_moments_of_another_form_than_those_before_are_refused() -> None:
    params = {"scale": jnp.ones(3)}
    before = rgo_jax.empty_moments(params)

    def seen(rows: jax.Array, start: Any) -> Any:
        own = rgo_jax.observe(start, {"scale": rows})
        return rgo_jax.summed(own, "data", before=before)

    rows = jnp.ones((2, 1, 3))
    mapped = jax.vmap(seen, in_axes=(0, None), axis_name="data")
    assert mapped(rows, before)["scale"].count.tolist() == [2, 2]
    message = "scale: expected a DiagonalMoment, as before has it, got a SecondMoment"
    with pytest.raises(TypeError, match=message):
        mapped(rows, {})


def test_what_was_rounded_to_float32_is_refused() -> None:
    moment = rgo_core.SecondMoment(jnp.ones((2, 2)), jnp.asarray(1))
    with pytest.raises(TypeError, match="kernel: expected a second moment in float64"):
        rgo_jax.summed({"kernel": moment}, "data")
