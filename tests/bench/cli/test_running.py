import json
import re
from pathlib import Path

import pytest
from bench.command_line import error_of, invoke
from bench.short_runs import SETTINGS, SHORT, files_in
from typer.testing import CliRunner

from rgo_bench.cli.app import app
from rgo_bench.records import PHASES, read_records

KEYS = {
    *("stream", "method", "network", "backend", "seed", "config"),
    *("accuracy", "acc", "bwt", "seconds", "environment"),
}
VARIANT = "epochs=1,samples=60,tasks=3"


def test_run_writes_a_record_for_every_method_and_seed_and_prints_the_table(
    tmp_path: Path,
) -> None:
    arguments = ["permuted-digits", "--method", "rgo,sgd,stl", "--seeds", "0-1"]
    output = invoke("run", *arguments, *SETTINGS, "--out", str(tmp_path)).output
    methods = ("rgo", "sgd", "stl")
    expected = [
        f"permuted-digits/{method}/{VARIANT}/seed-{seed}.json"
        for method in methods
        for seed in (0, 1)
    ]
    assert files_in(tmp_path) == expected
    for name in expected:
        content = json.loads((tmp_path / name).read_text())
        assert content.keys() >= KEYS
        assert SHORT.items() <= content["config"].items()
        assert set(content["seconds"]) == set(PHASES)
        assert [len(row) for row in content["accuracy"]] == [1, 2, 3]
        assert content["environment"]["threads"] == 1
    rows = [line.split() for line in output.splitlines()]
    for method in methods:
        (row,) = (row for row in rows if row[:1] == [method])
        # Method, seeds, ACC ± its deviation, BWT ± its deviation.
        assert row[1] == "2"
        assert all(re.fullmatch(r"-?\d+\.\d\d±\d+\.\d\d", x) for x in row[2:])


def test_without_a_method_and_a_seed_it_is_rgo_with_seed_0(tmp_path: Path) -> None:
    invoke("run", "permuted-digits", *SETTINGS, "--out", str(tmp_path))
    assert files_in(tmp_path) == [f"permuted-digits/rgo/{VARIANT}/seed-0.json"]


def test_what_is_named_twice_is_run_and_counted_once(tmp_path: Path) -> None:
    arguments = ["--method", "sgd,sgd", "--seeds", "1-2,1", *SETTINGS]
    output = invoke("run", "rotated-digits", *arguments, "--out", str(tmp_path)).output
    assert len(files_in(tmp_path)) == 2
    (row,) = (x.split() for x in output.splitlines() if x.split()[:1] == ["sgd"])
    assert row[1] == "2"


def test_a_finished_run_is_run_again_only_with_force(tmp_path: Path) -> None:
    arguments = ["permuted-digits", "--method", "sgd", "--seed", "3", *SETTINGS]
    arguments += ["--out", str(tmp_path)]
    first = invoke("run", *arguments).output
    (path,) = tmp_path.rglob("*.json")
    before = path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()
    assert invoke("run", *arguments).output == first
    assert before == (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
    assert invoke("run", *arguments, "--force").output == first
    assert path.stat().st_ino != before[0]
    rows, rows_before = (
        json.loads(content)["accuracy"] for content in (path.read_bytes(), before[2])
    )
    assert rows == rows_before


def test_any_idx_set_can_be_learned_and_is_not_compared_with_the_paper(
    tmp_path: Path, idx_folder: Path
) -> None:
    out = tmp_path / "out"
    arguments = ["permuted-mnist", "--method", "rgo,stl", "--data", str(idx_folder)]
    settings = ["--set=tasks=2", "--set=samples=20"]
    output = invoke("run", *arguments, *settings, "--out", str(out)).output
    assert "paper" not in output
    assert len(files_in(out)) == 2
    for record in read_records(out):
        assert record.config["data"].startswith(f"{idx_folder.name}-")
        assert f"data={idx_folder.name}-" in record.variant
        assert str(idx_folder.parent) not in str(record)
    assert "paper" not in invoke("table", str(out)).output


def test_what_several_runs_fail_of_is_told_once(tmp_path: Path) -> None:
    seeds = ["--seeds", "0-2", "--out", str(tmp_path)]
    result = CliRunner().invoke(
        app, ["run", "permuted-digits", *SETTINGS, "--set=lr=1e30", *seeds]
    )
    assert result.exit_code == 1
    assert result.stderr.count("Traceback") == 1
    lines = result.stderr.splitlines()
    for seed in range(3):
        own = [line for line in lines if line.endswith(f" seed {seed}")]
        assert len(own) == 1
        assert own[0].startswith("rgo-bench: failed: permuted-digits rgo ")
        assert "lr=1e%2B30" in own[0]
    told = "rgo-bench: ValueError: after task 0 the network returns NaN"
    assert sum(line.startswith(told) for line in lines) == 1


def test_an_option_that_does_not_exist_ends_it_once_before_any_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results"
    arguments = ["run", "permuted-digits", "--seeds", "0-4", "--out", str(out)]
    error = error_of([*arguments, "--set", "biases=foo"], monkeypatch, capsys)
    assert "option 'biases': expected one of null, raw, normalized, got 'foo'" in error
    assert not out.exists()
