import csv
import io
from pathlib import Path
from typing import Any

import pytest
from bench.command_line import invoke
from bench.sample_records import make_record
from typer.testing import Result

from rgo_bench.paper.table3 import table3_specs
from rgo_bench.records import read_records, write_record
from rgo_bench.report.page import report_html


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
            ("rgo", "--set epochs=20 --set weights=normalized"),
            ("rgo", "--set epochs=20"),
        )
    ]
    assert result.stdout.splitlines() == expected
    assert result.stderr == "Table 3: 8 of 8 runs are missing.\n"
    assert list(tmp_path.iterdir()) == []


def test_by_default_table_1_is_that_of_mnist(tmp_path: Path) -> None:
    result = invoke("table", "1", "--missing", "--out", str(tmp_path))
    assert len(result.stdout.splitlines()) == 2 * 13 * 5
    assert "split" not in result.stdout
    one = ["--stream", "split-cifar100,rotated-mnist", "--seeds", "0"]
    result = invoke("table", "1", *one, "--missing", "--out", str(tmp_path))
    assert len(result.stdout.splitlines()) == 13 + 12


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
    assert result.stderr == "Table 3: 0 of 4 runs are missing.\n"
    words = [line.split() for line in result.stdout.splitlines()]
    numbers = ["1", "98.50", "87.06", "11.44", "-9.88", "+6.03"]
    for form in ("paper's", "scaled", "ours"):
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
    assert result.stderr == "Table 3: 40 of 40 runs are missing.\n"
    assert "not run" in result.stdout
    invoke(*table, "--run")
    invoke("table", "1", "--no-run", "--out", str(tmp_path))
    invoke("table", "1", "--out", str(tmp_path))
    assert asked == [0, 40, 0, 130]


def test_a_table_of_the_paper_is_printed_in_every_format(tmp_path: Path) -> None:
    markdown = table_3(tmp_path, "--format=markdown").stdout
    assert "| lenet-5 | rgo | ours | ours |" in markdown
    assert "lenet-5 & rgo & ours & ours &" in table_3(tmp_path, "--format=latex").stdout
    rows = csv.DictReader(io.StringIO(table_3(tmp_path, "--format=csv").stdout))
    assert [(row["method"], row["train"]) for row in rows] == [
        ("stl", "98.5"),
        *[("rgo", "98.5")] * 3,
    ]


def test_the_page_is_one_file(results: Path, tmp_path: Path) -> None:
    path = tmp_path / "page" / "new" / "report.html"
    assert invoke("report", str(results), "--path", str(path)).stdout == f"{path}\n"
    assert path.read_text("utf-8") == report_html(read_records(results))
    assert list((tmp_path / "page").rglob("*.*")) == [path]
