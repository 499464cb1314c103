"""The command line with two backends."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bench.short_runs import SETTINGS
from typer.testing import CliRunner

from rgo_bench.cli.app import app
from rgo_bench.measure.cost import own_options, parse_subject
from rgo_bench.records import read_records


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


BOTH = ["run", "permuted-digits", "--method", "sgd,rgo", "--seeds", "0,2", *SETTINGS]


@pytest.fixture(scope="module")
def of_torch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torch")
    invoke(*BOTH, "--out", str(folder))
    return folder


@pytest.mark.parametrize("more", [(), ("--vmap",)], ids=["one by one", "at once"])
def test_a_table_shows_both_backends(
    more: tuple[str, ...], of_torch: Path, tmp_path: Path
) -> None:
    shutil.copytree(of_torch, tmp_path, dirs_exist_ok=True)
    invoke(*BOTH, "--out", str(tmp_path), "--backend", "jax", *more)
    records = read_records(tmp_path)
    runs = {(r.method, r.backend, r.seed) for r in records}
    assert len(runs) == len(records) == 8
    table = invoke("table", str(tmp_path), "--format", "csv")
    rows = [line.split(",") for line in table.splitlines()]
    assert sum("jax" in row for row in rows) == 2
    assert sum("torch" in row for row in rows) == 2


def test_what_was_run_at_once_is_not_run_again(tmp_path: Path) -> None:
    command = ["run", "permuted-digits", "--method", "sgd", "--seeds", "0-1", *SETTINGS]
    command += ["--backend", "jax", "--vmap", "--out", str(tmp_path)]
    invoke(*command)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    invoke(*command)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    assert before == after
    assert len(before) == 2


def test_streams_and_networks_are_run_at_once_each_by_itself(tmp_path: Path) -> None:
    command = ["run", "permuted-digits,rotated-digits", "--network", "mlp,mlp-glorot"]
    command += ["--method", "sgd", "--seeds", "0-1", *SETTINGS]
    invoke(*command, "--backend", "jax", "--vmap", "--out", str(tmp_path))
    records = read_records(tmp_path)
    runs = {(record.stream, record.network, record.seed) for record in records}
    assert len(runs) == len(records) == 8


def test_vmap_is_of_jax() -> None:
    with pytest.raises(ValueError, match=r"--vmap: expected --backend jax, got torch"):
        invoke("run", "permuted-digits", "--vmap")


def test_jax_is_not_asked_to_compile() -> None:
    with pytest.raises(ValueError, match=r"--compile: expected --backend torch, got j"):
        invoke("run", "permuted-digits", "--backend", "jax", "--compile")


def python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_line_starts_without_jax_and_matplotlib() -> None:
    code = (
        "import sys, rgo_bench.cli.app; print({'jax', 'matplotlib'} & {*sys.modules})"
    )
    loaded = python(code)
    assert loaded.stdout.strip() == "set()", loaded.stderr


def test_without_jax_its_backend_says_what_to_install() -> None:
    ended = python("import sys; sys.modules['jax'] = None; import rgo_bench.runs.jit")
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: backend jax: expected JAX and optax to be ")
    assert last.endswith("pip install 'rgo[jax]'")


def test_a_backend_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"backend: expected one of torch, jax, got "):
        invoke("run", "permuted-digits", "--backend", "numpy")


def test_backends_and_seeds_are_timed_beside_each_other(tmp_path: Path) -> None:
    out = tmp_path / "cost.json"
    methods = "sgd,rgo:jax:2"
    command = ["cost", "permuted-digits", "--method", methods, "--repeats", "1"]
    invoke(*command, *SETTINGS, "--out", str(out))
    rows = json.loads(out.read_text())["rows"]
    assert [row["method"] for row in rows] == methods.split(",")
    assert all(row["total"] > 0 for row in rows)


@pytest.mark.parametrize("text", ["rgo:jax:0", "rgo:jax:x", "rgo:jax:1:2"])
def test_what_is_timed_is_written_in_three_parts(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected METHOD\[:BACKEND\[:SEEDS\]\], got"):
        parse_subject(text)


def test_several_seeds_are_of_jax_alone() -> None:
    with pytest.raises(
        ValueError, match=r"expected several seeds of jax alone, got 'r"
    ):
        parse_subject("rgo:torch:3")


def test_options_timed_are_those_of_the_stream_or_of_a_method() -> None:
    chosen = {"tasks": 2, "observed": 5}
    assert own_options("permuted-digits", "rgo:jax", chosen) == chosen
    assert own_options("permuted-digits", "sgd", chosen) == {"tasks": 2}
    command = ["cost", "permuted-digits", "--method", "sgd", "--set", "observed=5"]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, ValueError)
    assert "expected options of permuted-digits or of sgd, got observed" in str(
        result.exception
    )
