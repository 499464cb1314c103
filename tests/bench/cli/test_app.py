import re
from pathlib import Path

import pytest
from bench.command_line import error_of, invoke
from bench.short_runs import SETTINGS, start
from typer.testing import CliRunner

from rgo_bench.cli.app import app
from rgo_bench.methods import METHODS
from rgo_bench.streams import STREAMS


def test_the_help_of_a_command_shows_the_choices() -> None:
    words = set(re.findall(r"[\w+-]+", invoke("run", "--help").output))
    assert {*STREAMS, *METHODS} <= words


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["table", "3", "--stream", "permuted-mnist"],
            "--stream: expected one of split-cifar100, split-miniimagenet, got permut",
        ),
        (["table", "2", "--network", "mlp"], "--network: expected one of lenet-5, len"),
        (["table", "1", "--seeds", "x"], "--seeds: expected 3, 0-4 or 0,2,5, got 'x'"),
        (["run", "mnist"], "stream: expected one of permuted-mnist, rotated-mnist, s"),
        (["run", "permuted-digits", "--method", "adam"], "method: expected one of rgo"),
        (["run", "permuted-digits", "--method", "rgo,"], "method: expected one of rgo"),
        (["run", "permuted-digits", "--network", "vgg"], "network: expected one of ml"),
        (
            ["run", "permuted-digits", "--set", "epoch=3"],
            "option of permuted-digits with rgo: expected one of batch, ",
        ),
        (["run", "permuted-digits", "--set", "tasks"], "--set: expected KEY=VALUE, go"),
        (["run", "permuted-digits", "--set", "tasks=x"], "option 'tasks': expected in"),
        (["run", "permuted-digits", "--set", "lr=0"], "option 'lr': expected a positi"),
        (["run", "permuted-digits", "--set", "per=x"], "option 'per': expected one of"),
        (
            ["run", "permuted-digits", "--set", "damping=0"],
            "option 'damping': expected a positive",
        ),
        (["run", "permuted-digits", "--device", "tpu"], "device: expected cpu"),
        (["run", "permuted-digits", "--seed", "-1"], "seed: expected an integer from "),
        (["run", "permuted-digits", "--seeds", "1-"], "--seeds: expected 3, 0-4 or 0"),
        (
            ["run", "permuted-digits", "--seed", "0", "--seeds", "1-2"],
            "--seed, --seeds: expected one of them, got both",
        ),
        (
            ["run", "permuted-digits", "--data", "{folder}"],
            "data: expected no folder, for the digits come with scikit-learn, got ",
        ),
        (
            ["run", "permuted-mnist", "--data", "{folder}"],
            "{folder}: expected the four IDX files of an image set",
        ),
        (
            ["run", "permuted-digits", *SETTINGS, "--set=lr=1e30"],
            "after task 0 the network returns NaN: the learning rate 1e+30 may be too ",
        ),
        (
            ["run", "permuted-digits", "--out", "{file}"],
            "{file}/permuted-digits/rgo: expected a folder that records can be written",
        ),
        (["demo", "--out", "{file}"], "{file}/permuted-digits/sgd: expected a folder "),
        (["demo", "--seed", "-1"], "seed: expected an integer from 0 to 4294967295"),
        (["table", "4"], "expected a table of the paper, 1, 2, 3, or a folder of "),
        (["table", "{folder}"], "{folder}: expected records (seed-*.json), got none"),
        (["table", "{absent}"], "{absent}: expected a folder of records, got none"),
        (["table", "{file}"], "{file}: expected a folder of records, got none"),
    ],
)
def test_an_error_is_one_line_on_stderr_and_code_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {name: tmp_path / name for name in ("folder", "file", "absent")}
    places["folder"].mkdir()
    places["file"].touch()
    monkeypatch.chdir(tmp_path)
    filled = [argument.format(**places) for argument in arguments]
    error = error_of(filled, monkeypatch, capsys)
    assert error.startswith(f"rgo-bench: {message.format(**places)}")
    assert list(tmp_path.rglob("*.json")) == []


def test_a_broken_checkpoint_says_what_to_do_on_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "permuted-digits" / "rgo" / "seed-0.checkpoint"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"PK\x03\x04")
    arguments = ["run", "permuted-digits", "--out", str(tmp_path)]
    assert error_of(arguments, monkeypatch, capsys) == (
        f"rgo-bench: {checkpoint}: expected a checkpoint, got a broken file; start "
        "again with --force\n"
    )
    assert checkpoint.read_bytes() == b"PK\x03\x04"


def test_a_process_ends_with_one_line_and_code_2_too(tmp_path: Path) -> None:
    process = start("table", str(tmp_path / "absent"))
    out, err = process.communicate()
    assert (process.returncode, out) == (2, "")
    message = f"rgo-bench: {tmp_path / 'absent'}: expected a folder of records, got "
    assert err == f"{message}none\n"


def test_a_process_without_a_terminal_prints_the_table_and_no_bar(
    tmp_path: Path,
) -> None:
    arguments = ["permuted-digits", "--method", "sgd", *SETTINGS]
    process = start("run", *arguments, "--out", str(tmp_path))
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert "\x1b" not in out
    assert "/18" not in out
    lines = [line.split() for line in out.splitlines() if line.strip()]
    assert lines[0] == ["permuted-digits", "(mlp,", "torch)"]
    assert lines[1] == ["method", "seeds", "ACC", "BWT"]
    assert lines[-1][:2] == ["sgd", "1"]
    assert len(lines) == 4


def test_without_a_command_the_help_names_all_of_them() -> None:
    output = CliRunner().invoke(app, ["--help"]).output
    for name in ("list", "run", "table", "demo"):
        assert f" {name} " in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "run permuted-digits --compile --backend jax",
            "got jax, which compiles in any",
        ),
        ("figure 1 --out nowhere", "nowhere: expected records of Figure 1, got none"),
    ],
)
def test_what_cannot_be_done_ends_it_at_once(
    arguments: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in error_of(arguments.split(), monkeypatch, capsys)
