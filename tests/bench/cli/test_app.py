import csv
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from bench.sample_records import make_record
from bench.short_runs import SETTINGS, SHORT, files_in, start
from typer.testing import CliRunner, Result

from rgo_bench.cli.app import app, main
from rgo_bench.cli.options import split_names
from rgo_bench.cli.seeds import parse_seeds
from rgo_bench.methods import METHODS
from rgo_bench.networks import NETWORKS
from rgo_bench.paper.table3 import table3_specs
from rgo_bench.records import PHASES, read_records, write_record
from rgo_bench.runs.spec import option_text
from rgo_bench.streams import STREAMS

KEYS = {
    *("stream", "method", "network", "backend", "seed", "config"),
    *("accuracy", "acc", "bwt", "seconds", "environment"),
}
VARIANT = "epochs=1,samples=60,tasks=3"


def invoke(*arguments: str) -> Result:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def error_of(
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> str:
    """The one line on stderr with which the command line ends, with code 2."""
    monkeypatch.setattr(sys, "argv", ["rgo-bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("rgo-bench: ")
    assert shown.err.count("\n") == 1
    assert shown.err.endswith("\n")
    return shown.err


def test_list_names_the_options_that_a_stream_sets_for_a_method() -> None:
    output = " ".join(invoke("list").output.split())
    for stream, entry in STREAMS.items():
        for method, options in entry.protocol.items():
            listed = " ".join(f"{k}={option_text(options[k])}" for k in options)
            assert f"{stream} {method} {listed}" in output


def test_list_tells_what_a_preset_stands_for() -> None:
    output = " ".join(invoke("list").output.split())
    paper = "damping=0.01 per=batch biases=normalized softmax=present"
    assert f"rgo paper {paper} permutations=shared" in output
    assert f"rgo-2 paper {paper}" in output


def test_list_names_every_stream_method_and_network_and_their_options() -> None:
    output = invoke("list").output
    words = output.split()
    assert {*STREAMS, *METHODS, *NETWORKS} <= set(words)
    for entry in (*STREAMS.values(), *METHODS.values()):
        for name, value in entry.defaults.as_dict().items():
            names = entry.defaults.choices.get(name, ())
            values = [value, *(each for each in names if each != value)]
            listed = [*map(option_text, values)]
            listed += ["N"] if name in entry.defaults.numbered else []
            assert f"{name}={'|'.join(listed)}" in words
    assert "angles=drawn|fixed" in words
    assert "observed=null|enough|N" in words


def test_the_help_of_a_command_shows_the_choices() -> None:
    words = set(re.findall(r"[\w+-]+", invoke("run", "--help").output))
    assert {*STREAMS, *METHODS} <= words


def test_names_are_given_with_commas_or_one_by_one() -> None:
    assert split_names("b,a,b") == split_names(["b", "a,b"]) == ["b", "a"]
    assert split_names(None) is split_names([]) is None


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


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for method in ("rgo", "sgd"):
        for seed in (0, 1):
            write_record(tmp_path, make_record(method=method, seed=seed))
    return tmp_path


def test_the_table_is_printed_for_the_terminal_beside_the_papers(results: Path) -> None:
    output = invoke("table", str(results)).output
    assert "permuted-mnist (mlp, torch)" in output
    for text in ("paper ACC", "91.15", "46.11", "87.06"):
        assert text in output


def test_the_table_is_printed_in_markdown(results: Path) -> None:
    lines = invoke("table", str(results), "--format", "markdown").output.splitlines()
    assert lines[0] == "### permuted-mnist (mlp, torch)"
    assert {line[0] for line in lines[2:]} == {"|"}
    assert len({line.count("|") for line in lines[2:]}) == 1
    assert len(lines) == 6


def test_the_table_is_printed_in_csv(results: Path) -> None:
    output = invoke("table", str(results), "--format", "csv").output
    rows = list(csv.DictReader(io.StringIO(output)))
    assert [(row["method"], row["seeds"]) for row in rows] == [
        ("rgo", "2"),
        ("sgd", "2"),
    ]
    assert float(rows[0]["paper_acc"]) == 91.15


def test_the_table_is_printed_in_latex(results: Path) -> None:
    output = invoke("table", str(results), "--format", "latex").output
    assert output.startswith("% permuted-mnist (mlp, torch)\n\\begin{tabular}")
    assert output.endswith("\\end{tabular}\n")


def test_what_is_missing_of_a_table_is_listed_as_commands_and_not_run(
    tmp_path: Path,
) -> None:
    part = ["3", "--stream", "split-cifar100", "--network", "lenet-5", "--seeds", "0-1"]
    result = invoke(
        *("table", *part, "--out", str(tmp_path), "--device", "cuda", "--missing")
    )
    expected = [
        f"rgo-bench run split-cifar100 --method {method} --seeds {seed} --network "
        f"lenet-5 {options} --out {tmp_path} --device cuda"
        for seed in (0, 1)
        for method, options in (
            ("stl", "--set epochs=20"),
            (
                "rgo",
                "--set biases=normalized --set damping=0.01 --set epochs=20 "
                "--set per=batch --set permutations=shared --set softmax=present",
            ),
            ("rgo", "--set epochs=20 --set relative=true"),
        )
    ]
    assert result.stdout.splitlines() == expected
    assert result.stderr == "Table 3: 6 of 6 runs are missing.\n"
    assert list(tmp_path.iterdir()) == []


def test_by_default_table_1_is_that_of_mnist(tmp_path: Path) -> None:
    result = invoke("table", "1", "--missing", "--out", str(tmp_path))
    assert len(result.stdout.splitlines()) == 2 * 10 * 5
    assert "split" not in result.stdout
    one = ["--stream", "split-cifar100,rotated-mnist", "--seeds", "0"]
    result = invoke("table", "1", *one, "--missing", "--out", str(tmp_path))
    assert len(result.stdout.splitlines()) == 10 + 12


def table_3(tmp_path: Path, *more: str) -> Result:
    """Table 3 of one seed of one network, whose records are there."""
    specs = table3_specs(seeds=[2], networks=["lenet-5"])
    for spec in specs:
        names = {"stream": spec.stream, "method": spec.method, "network": spec.network}
        more_names = {"variant": spec.variant, "config": spec.config, "seed": 2}
        record = make_record(**names, **more_names, train_accuracy=(99.0, 98.0))
        write_record(tmp_path, record)
    part = ["--network", "lenet-5", "--seeds", "2", "--out", str(tmp_path)]
    return invoke("table", "3", *part, *more)


def test_a_table_of_the_paper_is_printed_from_its_records(tmp_path: Path) -> None:
    result = table_3(tmp_path)
    assert result.stderr == "Table 3: 0 of 3 runs are missing.\n"
    words = [line.split() for line in result.stdout.splitlines()]
    numbers = ["1", "98.50", "87.06", "11.44", "-9.88", "+6.03"]
    for form in ("paper's", "ours"):
        assert ["lenet-5", "rgo", form, "ours", *numbers] in words
    assert ["lenet-5", "stl", "paper", "5", "100.00±0.00", "75.01±0.32"] in [
        line[:6] for line in words
    ]
    row = ["not", "run", "87.06", "87.06", "-9.88", "87.06", "-9.88"]
    assert ["lenet-5", "ours", *row] in words


def test_tables_whose_runs_take_hours_run_only_when_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def run_none(specs: Any, *args: Any, **more: Any) -> Any:
        asked.append(len(specs))
        return [], []

    monkeypatch.setattr("rgo_bench.cli.showing.run_shown", run_none)
    table = ["table", "3", "--network", "vgg-13", "--out", str(tmp_path)]
    result = invoke(*table)
    assert result.stderr == "Table 3: 30 of 30 runs are missing.\n"
    assert "not run" in result.stdout
    invoke(*table, "--run")
    invoke("table", "1", "--no-run", "--out", str(tmp_path))
    invoke("table", "1", "--out", str(tmp_path))
    assert asked == [0, 30, 0, 100]


def test_a_table_of_the_paper_is_printed_in_every_format(tmp_path: Path) -> None:
    markdown = table_3(tmp_path, "--format=markdown").stdout
    assert "| lenet-5 | rgo | ours | ours |" in markdown
    assert "lenet-5 & rgo & ours & ours &" in table_3(tmp_path, "--format=latex").stdout
    rows = csv.DictReader(io.StringIO(table_3(tmp_path, "--format=csv").stdout))
    assert [(row["method"], row["train"]) for row in rows] == [
        ("stl", "98.5"),
        ("rgo", "98.5"),
        ("rgo", "98.5"),
    ]


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
        (["run", "permuted-digits", "--set", "damping=0"], "damping must be a finite "),
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
    ("text", "seeds"),
    [
        ("3", [3]),
        ("0-4", [0, 1, 2, 3, 4]),
        ("2-2", [2]),
        ("0,2,5", [0, 2, 5]),
        ("7,0-2", [7, 0, 1, 2]),
        ("0-2,1,0", [0, 1, 2]),
    ],
)
def test_seeds_are_read_once_each_in_their_order(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "-1", "1-", "1-a", "0,,2", "0-1-2", "1.5"])
def test_seeds_of_another_form_are_refused(text: str) -> None:
    message = f"--seeds: expected 3, 0-4 or 0,2,5, got {text!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_seeds(text)


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


def test_an_option_that_does_not_exist_ends_it_once_before_any_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results"
    arguments = ["run", "permuted-digits", "--seeds", "0-4", "--out", str(out)]
    error = error_of([*arguments, "--set", "biases=foo"], monkeypatch, capsys)
    assert "option 'biases': expected one of raw, normalized, got 'foo'" in error
    assert not out.exists()


def test_seeds_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="--seeds: expected at least one seed, got"):
        parse_seeds("4-0")
