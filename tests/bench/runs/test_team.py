"""Several processes make the run of one."""

import json
from pathlib import Path

import pytest
import torch
from bench.runs.two_processes import SPECS
from bench.short_runs import files_in, path_of, short_spec
from forked import run_forked
from torch_backend.worker_marks import NEEDS_GLOO

from rgo_bench.records import read_record
from rgo_bench.runs.run import check_together, run
from rgo_bench.runs.spec import Spec, make_spec
from rgo_bench.team import Team, joined

SCRIPT = Path(__file__).with_name("two_processes.py")
HALF = 2  # samples of a test set that rounding may tell apart, in either direction


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where two processes have left their records."""
    folder = tmp_path_factory.mktemp("team")
    run_forked(SCRIPT, folder)
    return folder


@NEEDS_GLOO
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.method)
def test_two_processes_write_the_record_of_one(
    folder: Path, tmp_path: Path, spec: Spec
) -> None:
    alone = run(spec, tmp_path)
    together = read_record(path_of(spec, folder / "together"))
    assert together.config == alone.config
    percent = 100 * HALF / 300
    for ours, other in zip(together.accuracy, alone.accuracy, strict=True):
        assert ours == pytest.approx(other, abs=percent)


@NEEDS_GLOO
def test_two_processes_go_on_from_a_checkpoint_to_the_same_numbers(
    folder: Path,
) -> None:
    together = read_record(path_of(SPECS[0], folder / "together"))
    resumed = read_record(path_of(SPECS[0], folder / "resumed"))
    assert resumed.accuracy == together.accuracy
    assert len(files_in(folder / "resumed")) == 1


@NEEDS_GLOO
def test_processes_that_torchrun_starts_again_do_not_wait_for_the_dead(
    folder: Path,
) -> None:
    said = [(folder / f"restarted-{rank}").read_text() for rank in range(2)]
    assert said == ["2", "2"]


@NEEDS_GLOO
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("batch", "several processes expect per=sample, got batch: none has a whole"),
        ("small", "--nproc-per-node: expected at most 1 processes, as many as a mini-"),
        ("method", "several processes expect one of the methods rgo, rgo-2, sgd, got"),
        ("normalized", "several processes expect a network without batch normalisat"),
    ],
)
def test_what_two_processes_would_do_otherwise_is_refused_on_both(
    folder: Path, name: str, expected: str
) -> None:
    for rank in range(2):
        said = json.loads((folder / f"{rank}.json").read_text())
        assert said[name].startswith(expected)


def test_jax_and_compiled_steps_are_for_one_process() -> None:
    spec = make_spec("permuted-digits", "rgo", 0, {}, backend="jax")
    with pytest.raises(ValueError, match="several processes expect --backend torch"):
        check_together(spec, compiled=False)
    with pytest.raises(ValueError, match="several processes expect no --compile"):
        check_together(short_spec("rgo"), compiled=True)


def test_one_process_is_a_team_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as team:
        assert team.leads
        assert team.agreed("value") == "value"
        x, y = torch.ones(3, 2), torch.arange(3)
        assert team.deal(x, y) == (x, y)
        assert team.total(torch.ones(())) == 1
    assert Team().count == 1
