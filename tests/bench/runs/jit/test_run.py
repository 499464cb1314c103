from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from bench.short_runs import (
    InterruptedRunError,
    Listener,
    checkpoint_of,
    files_in,
    path_of,
    without_times,
)

from rgo_bench.records import PHASES, read_records
from rgo_bench.runs.jit import JitRun, run_mapped
from rgo_bench.runs.jit.run import filled_up
from rgo_bench.runs.run import run
from rgo_bench.runs.spec import Spec, make_spec
from rgo_bench.streams import make_stream

SHORT: dict[str, Any] = {"tasks": 3, "samples": 200, "epochs": 3}


def spec_of(method: str, *, seed: int = 0, backend: str = "jax", **more: Any) -> Spec:
    stream = more.pop("stream", "permuted-digits")
    options = {**SHORT, **more}
    return make_spec(stream, method, seed, options, backend=backend)


CASES = [
    ("rgo", {}),
    (
        "rgo",
        {"per": "batch", "biases": "normalized", "damping": 0.05, "observed": 50},
    ),
    ("rgo", {"preset": "paper", "observed": 100, "extrapolate": True}),
    ("rgo", {"observed": "enough", "samples": 1200, "epochs": 1}),
    ("rgo", {"curvature": "exact", "samples": 195}),  # the last batch has five
    ("rgo-2", {}),
    ("sgd", {}),
    ("stl", {}),
]


@pytest.mark.parametrize(("method", "options"), CASES)
def test_a_run_ends_with_the_accuracy_of_pytorch(
    method: str, options: dict[str, Any], tmp_path: Path
) -> None:
    records = {
        backend: run(spec_of(method, backend=backend, **options), tmp_path)
        for backend in ("torch", "jax")
    }
    ours, theirs = records["jax"], records["torch"]
    assert (ours.backend, theirs.backend) == ("jax", "torch")
    # One test sample in 500 may fall the other way by rounding.
    np.testing.assert_allclose(ours.matrix, theirs.matrix, atol=0.5)
    assert theirs.acc > 40
    assert set(ours.seconds) == set(PHASES)
    assert ours.environment["jax"] == jax.__version__


@pytest.mark.parametrize("own", [{}, {"reduce": "mean"}, {"per": "batch"}])
def test_a_convolutional_run_on_masked_tasks_is_that_of_pytorch(
    own: dict[str, Any], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"tasks": 2, "epochs": 2, **own}
    records = [
        run(
            make_spec(
                "split-digits", "rgo", 0, options, network="lenet-5", backend=backend
            ),
            tmp_path,
        )
        for backend in ("torch", "jax")
    ]
    np.testing.assert_allclose(records[1].matrix, records[0].matrix, atol=1.5)
    assert records[0].train_accuracy is not None
    assert records[1].train_accuracy is not None
    np.testing.assert_allclose(
        records[1].train_accuracy, records[0].train_accuracy, atol=1.5
    )
    assert records[0].acc > 80


def test_the_variant_says_the_backend(tmp_path: Path) -> None:
    spec = spec_of("sgd")
    assert "backend=jax" in spec.variant
    run(spec, tmp_path)
    assert path_of(spec, tmp_path).exists()
    assert not checkpoint_of(spec, tmp_path).exists()


@pytest.mark.parametrize("method", ["rgo", "stl"])
def test_a_run_that_was_cut_off_ends_with_the_same_numbers(
    method: str, tmp_path: Path
) -> None:
    spec = spec_of(method)
    whole = run(spec, tmp_path / "whole")
    with pytest.raises(InterruptedRunError):
        run(spec, tmp_path / "parts", reporter=Listener(stop_in=1))
    assert checkpoint_of(spec, tmp_path / "parts").exists()
    resumed = run(spec, tmp_path / "parts")
    assert without_times(resumed) == without_times(whole)


def test_several_seeds_at_once_are_those_one_by_one(tmp_path: Path) -> None:
    specs = [spec_of("rgo", seed=seed) for seed in (0, 3)]
    listener = Listener()
    mapped = run_mapped(specs, tmp_path / "mapped", reporter=listener)
    assert list(listener.accuracy) == [0, 1, 2]
    for spec, record in zip(specs, mapped, strict=True):
        alone = run(spec, tmp_path / "alone")
        assert record.config == alone.config
        assert record.seed == spec.seed
        np.testing.assert_allclose(record.matrix, alone.matrix, atol=0.5)
    written = read_records(tmp_path / "mapped")
    assert [without_times(r) for r in written] == [without_times(r) for r in mapped]
    assert mapped[0].accuracy != mapped[1].accuracy


def test_seeds_at_once_may_have_test_sets_of_other_sizes(tmp_path: Path) -> None:
    options = {"tasks": 1, "epochs": 1}
    specs = [
        make_spec("split-digits", "sgd", s, options, backend="jax") for s in (0, 1)
    ]
    sizes = {len(make_stream("split-digits", seed=s.seed).test(0).y) for s in specs}
    assert len(sizes) == 2  # the seed draws the classes
    mapped = run_mapped(specs, tmp_path / "mapped", reporter=Listener())
    for spec, record in zip(specs, mapped, strict=True):
        alone = run(spec, tmp_path / "alone")
        np.testing.assert_allclose(record.matrix, alone.matrix, atol=0.5)


def test_what_fills_up_a_test_set_is_never_right() -> None:
    given = make_stream("split-digits", seed=0).test(0)
    filled = filled_up(given, len(given.y) + 2)
    assert (filled.y[-2:] == -1).all()
    np.testing.assert_array_equal(filled.x[:-2], given.x)
    assert filled.x.dtype == given.x.dtype


def test_it_compiles_once_for_all_tasks_and_seeds() -> None:
    alone = {"lr": 0.09}  # of which no other test has compiled anything
    for seed in range(2):
        running = JitRun([spec_of("rgo", seed=seed, **alone)])
        for _ in range(3):
            running.learn(Listener())
    sizes = {
        name: getattr(running.program, name)._cache_size()
        for name in ("begin", "train", "end", "observe")
    }
    # Weights that were not trained yet, and the same again trained.
    assert sizes == {"begin": 1, "train": 1, "end": 1, "observe": 1}


def test_what_it_does_not_do_is_refused(tmp_path: Path) -> None:
    message = "backend jax: expected one of the methods rgo, rgo-2, sgd, stl, got gpm"
    with pytest.raises(ValueError, match=message):
        run(spec_of("gpm"), tmp_path)
    assert files_in(tmp_path) == []


def test_seeds_at_once_must_be_alike(tmp_path: Path) -> None:
    specs = [spec_of("rgo"), spec_of("rgo", seed=1, damping=0.5)]
    with pytest.raises(ValueError, match=r"expected runs that differ in their seeds a"):
        run_mapped(specs, tmp_path, reporter=Listener())


def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    if any(device.platform == "gpu" for device in jax.devices()):
        pytest.skip("there is a GPU here")
    with pytest.raises(ValueError, match=r"device: expected one of JAX's, .* got 'cud"):
        run(spec_of("sgd"), tmp_path, device="cuda")


def test_a_learning_rate_that_is_too_high_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"after task 0 the network returns NaN: the"):
        run(spec_of("sgd", lr=1e30), tmp_path)
