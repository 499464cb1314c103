"""Runs that end before anything is trained or written, and say why."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from bench.short_runs import (
    Listener,
    files_in,
    interrupt,
    path_of,
    short_spec,
)

from rgo_bench.runs.run import run
from rgo_bench.runs.spec import make_spec

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("keep", [0, 20, -1])
def test_a_broken_checkpoint_is_refused_and_kept_until_forced(
    keep: int, tmp_path: Path
) -> None:
    spec = short_spec("sgd")
    checkpoint = interrupt(spec, tmp_path, 1)
    broken = checkpoint.read_bytes()[:keep]
    checkpoint.write_bytes(broken)
    message = (
        f"{checkpoint}: expected a checkpoint, got a broken file; start again with "
        "--force"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        run(spec, tmp_path)
    assert checkpoint.read_bytes() == broken
    assert files_in(tmp_path) == [str(checkpoint.relative_to(tmp_path))]
    run(spec, tmp_path, force=True)
    assert files_in(tmp_path) == [str(path_of(spec, Path()))]


def test_a_checkpoint_of_another_configuration_is_refused_and_kept(
    tmp_path: Path,
) -> None:
    spec, other = short_spec("sgd"), short_spec("sgd", lr=0.2)
    content = interrupt(other, tmp_path / "other", 1).read_bytes()
    checkpoint = interrupt(spec, tmp_path / "here", 1)
    checkpoint.write_bytes(content)
    message = (
        f"{checkpoint}: expected a checkpoint of {spec.config}, got one of "
        f"{other.config}; start again with --force"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        run(spec, tmp_path / "here")
    assert checkpoint.read_bytes() == content


def test_a_record_of_another_configuration_is_refused_and_kept(tmp_path: Path) -> None:
    # As when a default has changed since it was written.
    spec = short_spec("rgo")
    run(spec, tmp_path)
    path = path_of(spec, tmp_path)
    content = json.loads(path.read_text())
    content["config"]["damping"] = 77.0
    path.write_text(json.dumps(content))
    message = f"{path}: expected a record of {spec.config}, got one of "
    with pytest.raises(ValueError, match=f"{re.escape(message)}.*77.0.*--force"):
        run(spec, tmp_path)
    assert json.loads(path.read_text()) == content
    assert run(spec, tmp_path, force=True).config == spec.config


def test_a_broken_record_is_named_and_kept(tmp_path: Path) -> None:
    spec = short_spec("sgd")
    path = path_of(spec, tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text('{"stream": ')
    with pytest.raises(ValueError, match=re.escape(str(path))):
        run(spec, tmp_path)
    assert path.read_text() == '{"stream": '


@pytest.mark.parametrize("taken", ["", "permuted-digits", "permuted-digits/sgd"])
def test_a_folder_that_cannot_be_written_to_is_refused_before_training(
    taken: str, tmp_path: Path
) -> None:
    spec, out = short_spec("sgd"), tmp_path / "out"
    blocked = out / taken
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.touch()
    heard = Listener()
    folder = path_of(spec, out).parent
    message = f"{folder}: expected a folder that records can be written to, got: "
    with pytest.raises(OSError, match=re.escape(message)):
        run(spec, out, reporter=heard)
    assert heard.steps == {}
    assert blocked.is_file()


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0,
    reason="nothing keeps this user from writing",
)
def test_a_folder_without_permission_is_refused_before_training(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    heard = Listener()
    with pytest.raises(OSError, match="expected a folder that records can be written"):
        run(short_spec("sgd"), tmp_path, reporter=heard)
    assert heard.steps == {}


@pytest.mark.parametrize("device", ["tpu", "cuda:7", ""])
def test_a_device_that_is_not_there_is_refused(device: str, tmp_path: Path) -> None:
    message = rf"device: expected cpu.*, the devices that there are, got '{device}'"
    with pytest.raises(ValueError, match=message):
        run(short_spec("sgd"), tmp_path, device=device)
    assert files_in(tmp_path) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_is_refused_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"device: expected cpu, .* got 'cuda'"):
        run(short_spec("sgd"), tmp_path, device="cuda")


def test_data_that_are_not_there_are_reported_before_anything_is_written(
    tmp_path: Path,
) -> None:
    spec = make_spec("permuted-mnist", "sgd", 0, data=tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="expected the four IDX files"):
        run(spec, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("rgo", {"damping": -1}, "option 'damping': expected a positive number, got"),
        (
            "rgo",
            {"per": "pixel"},
            "option 'per': expected one of null, sample, batch, got 'pixel'",
        ),
        ("sgd", {"samples": 9999}, "option 'samples' of permuted-digits: expected at"),
    ],
)
def test_values_that_do_not_do_are_refused_before_anything_is_written(
    method: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        run(short_spec(method, **options), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", ["rgo", "rgo-2", "sgd", "stl"])
def test_a_run_that_diverges_says_so_and_writes_no_record(
    method: str, tmp_path: Path
) -> None:
    message = (
        "after task 0 the network returns NaN: the learning rate 1e+30 may be too high"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        run(short_spec(method, lr=1e30), tmp_path)
    assert files_in(tmp_path) == []
