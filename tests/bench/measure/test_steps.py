import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from rgo_bench.cli import measuring
from rgo_bench.cli.app import app
from rgo_bench.measure import pass_memory, step_profile, steps, subjects
from rgo_bench.measure.operations import step_operations
from rgo_bench.measure.pass_memory import measure_memory
from rgo_bench.measure.steps import measure_step
from rgo_bench.measure.subjects import (
    CLASSES,
    Subject,
    usual_shape,
)
from rgo_bench.networks import NETWORKS
from rgo_torch.fast.packed import PackedProduct

SHAPE = (3, 8, 8)
# Dynamo's own, at autograd functions and at tensors with a hook.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*should not be:DeprecationWarning"),
]


def test_steps_of_both_kinds_are_timed_beside_the_floor() -> None:
    found = measure_step("mlp", SHAPE, batch=2, repeats=2, seconds=0.01)
    assert min(found.sgd, found.rgo, found.ratio) > 0
    network = NETWORKS["mlp"](SHAPE, 100, 0)
    assert found.floor == step_operations(network, torch.zeros(2, *SHAPE)).ratio > 1
    assert found.sgd_compiled is found.rgo_compiled is None


def test_compiled_steps_are_timed_over_plain_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(steps, "check_compiler", lambda: None)
    plainly = partial(steps.compiled_forward, backend="eager")
    monkeypatch.setattr(steps, "compiled_forward", plainly)
    monkeypatch.setattr(measuring, "measure_step", partial(measure_step, seconds=0))
    file = tmp_path / "found.json"
    options = [
        "--batch=2",
        "--shape=3,8,8",
        "--repeats=1",
        "--compile",
        f"--out={file}",
    ]
    result = CliRunner().invoke(app, ["steps", "mlp", *options])
    assert result.exit_code == 0
    (row,) = json.loads(file.read_text())["rows"]
    assert min(row["sgd_compiled"], row["rgo_compiled"]) > 0
    assert f"x {row['rgo_compiled']:.2f}" in result.output


def test_without_a_compiler_no_compiled_step_is_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(OSError, match="there is no no-such-compiler"):
        measure_step("mlp", SHAPE, compiled=True)


def command(name: str, file: Path, *options: str) -> tuple[str, dict[str, Any]]:
    """Return what a command prints and what it writes."""
    always = ["--batch=2", "--shape=3,8,8", f"--out={file}"]
    result = CliRunner().invoke(app, [name, "mlp", *always, *options])
    assert result.exit_code == 0
    return result.output, json.loads(file.read_text())


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    return command("memory", tmp_path_factory.mktemp("memory") / "found.json")


def test_the_memory_of_the_pass_holds_the_second_moments(
    memory: tuple[str, dict[str, Any]],
) -> None:
    (found,) = memory[1]["rows"]
    widths = [192, 256, 256]  # the inputs; the biases have 256, 256 and 100
    entries = sum(n * n for n in [*widths, 256, 256, 100])
    assert found["moments"] == entries * 8 / 2**20
    assert found["observe"] > found["moments"]
    assert found["train"] > 0
    assert found["ratio"] == (found["observe"] - found["moments"]) / found["train"]


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"vgg-11 failed:\n(.|\n)*ValueError"):
        measure_memory("vgg-11", SHAPE)


def test_the_commands_print_a_table_and_write_what_was_measured(
    memory: tuple[str, dict[str, Any]], tmp_path: Path
) -> None:
    for output, found in (
        memory,
        command("steps", tmp_path / "found.json", "--repeats=1"),
    ):
        assert "mlp" in output
        assert [row["network"] for row in found["rows"]] == ["mlp"]
        assert found["rows"][0]["batch"] == 2
        assert found["environment"]["device"] == "cpu"


def test_where_the_host_does_not_tell_its_memory_that_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pass_memory, "STATM", tmp_path / "statm")
    with pytest.raises(OSError, match=r"measured by .*statm, which is not"):
        measure_memory("mlp", SHAPE)


@pytest.mark.parametrize("command", ["steps", "memory"])
def test_a_device_that_is_not_there_is_refused(command: str) -> None:
    result = CliRunner().invoke(app, [command, "mlp", "--device=tpu"])
    assert isinstance(result.exception, ValueError)
    assert "device: expected cpu" in str(result.exception)


def test_an_unknown_network_is_refused_before_anything_is_measured() -> None:
    result = CliRunner().invoke(app, ["steps", "mlp", "alexnet"])
    assert isinstance(result.exception, ValueError)
    assert "network: expected one of mlp, " in str(result.exception)


def test_the_profile_of_a_step_adds_up(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    options = ["--shape=64", "--batch=2", "--rounds=3", f"--out={file}"]
    result = CliRunner().invoke(app, ["profile", "mlp", *options])
    assert result.exit_code == 0
    (row,) = json.loads(file.read_text())["rows"]
    plain, ours = (sum(row[kind].values()) for kind in ("plain", "rgo"))
    assert min(row["plain"].values()) > 0
    assert row["products"] > 0
    assert row["ratio"] == pytest.approx(ours / plain)
    assert row["floor"] == pytest.approx(1 + row["products"] / plain)
    parts = row["products"] + row["encoding"] + row["rest"]
    assert parts >= ours - plain - 1e-6
    assert f"{row['products']:.0f}" in result.output


def test_a_profile_multiplies_what_a_step_does() -> None:
    # Two inputs a layer are fewer than its outputs: they are multiplied, not gradients.
    stepper = step_profile._Stepper(Subject("mlp", (64,), 2), "sgd", "rgo")
    shapes = []
    packed, plain = PackedProduct.__call__, step_profile.projected_rows

    def multiplied(p: Tensor, rows: Tensor) -> Tensor:
        shapes.append(tuple(rows.shape))
        return plain(p, rows)

    def by_factors(self: PackedProduct, p: Tensor, rows: Tensor) -> Tensor:
        assert rows.ndim == 2
        shapes.append(tuple(rows.shape))
        return packed(self, p, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_profile, "projected_rows", multiplied)
        patch.setattr(PackedProduct, "__call__", by_factors)
        stepper.products()()
    assert sorted(shapes) == sorted(
        [(2, 64), (256,), (2, 256), (256,), (2, 256), (100,)]
    )


def test_updates_are_timed_where_they_are_projected() -> None:
    found = measure_step("mlp", SHAPE, batch=2, optimizer="adamw", repeats=1, seconds=0)
    assert found.optimizer == "adamw"
    assert min(found.sgd, found.rgo) > 0
    stepper = step_profile._Stepper(Subject("mlp", (64,), 2), "adamw", "rgo")
    assert stepper.rgo is not None
    assert stepper.rgo.projector.project == "update"


def test_a_bert_takes_tokens_and_its_updates_are_timed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr(subjects, "VOCABULARY", 50)
    monkeypatch.setattr(measuring, "measure_step", partial(measure_step, seconds=0))
    file = tmp_path / "found.json"
    options = ["--shape=4", "--batch=1", "--repeats=1", "--optimizer=adamw"]
    result = CliRunner().invoke(app, ["steps", "bert", *options, f"--out={file}"])
    assert result.exit_code == 0
    (row,) = json.loads(file.read_text())["rows"]
    assert row["input_shape"] == [4]
    assert min(row["sgd"], row["rgo"]) > 0
    # As many multiplications of updates whatever the batch, of which four tokens are
    # few.
    assert row["floor"] > 10


def test_each_network_is_measured_on_samples_as_it_is_trained_on() -> None:
    assert (usual_shape("mlp"), usual_shape("lenet-5")) == ((784,), (3, 32, 32))
    for name in ("mlp", "lenet-5"):
        subject = Subject(name, usual_shape(name), 2)
        x, y = next(subject.draw(1))
        assert subject.make()(x).shape == (2, CLASSES)
        assert y.shape == (2,)
    x, _ = next(Subject("bert", usual_shape("bert"), 2).draw(1))
    assert x.shape == (2, 128)
    assert x.dtype == torch.int64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shape=3,x"], "--shape: expected numbers as in 3,32,32, got '3,x'"),
        (["--optimizer=lion"], "optimizer: expected one of sgd, adamw, got 'lion'"),
    ],
)
def test_what_cannot_be_profiled_is_refused(options: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["profile", "mlp", *options])
    assert isinstance(result.exception, ValueError)
    assert message in str(result.exception)
