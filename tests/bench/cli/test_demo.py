"""The demonstration as it is, run once; its seconds are the longest of the suite."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import typer
from bench.command_line import invoke
from bench.sample_records import make_record
from bench.short_runs import files_in
from typer.testing import CliRunner

from rgo_bench.cli import running
from rgo_bench.cli.app import app
from rgo_bench.cli.running import DEMONSTRATED
from rgo_bench.records import Record, read_records
from rgo_bench.report.plots import write_average_accuracy
from rgo_bench.runs.spec import Spec

PNG = b"\x89PNG\r\n\x1a\n"


class Demo(NamedTuple):
    folder: Path
    output: str
    records: dict[str, Record]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo") / "out"
    result = CliRunner().invoke(app, ["demo", "--out", str(folder)])
    assert result.exit_code == 0, result.output
    records = {record.method: record for record in read_records(folder)}
    return Demo(folder, result.output, records)


def test_it_runs_four_methods_on_permuted_digits_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    specs: list[Spec] = []

    def keep(asked: Iterable[Spec], *args: Any) -> Any:
        specs.extend(asked)
        raise typer.Exit

    monkeypatch.setattr(running, "run_shown", keep)
    invoke("demo", "--seed", "3")
    assert tuple(spec.method for spec in specs) == DEMONSTRATED
    assert {spec.stream for spec in specs} == {"permuted-digits"}
    assert {(spec.seed, spec.variant) for spec in specs} == {(3, "")}


def test_a_picture_is_written_with_the_folders_that_it_needs(tmp_path: Path) -> None:
    write_average_accuracy([make_record()], tmp_path / "a" / "b" / "picture.png")
    assert (tmp_path / "a" / "b" / "picture.png").read_bytes().startswith(PNG)
    assert files_in(tmp_path) == ["a/b/picture.png"]


def test_it_leaves_four_records_and_a_picture(demo: Demo) -> None:
    names = [f"permuted-digits/{method}/seed-0.json" for method in DEMONSTRATED]
    assert files_in(demo.folder) == sorted([*names, "average-accuracy.png"])
    assert (demo.folder / "average-accuracy.png").read_bytes().startswith(PNG)


def test_it_prints_the_table_and_where_the_picture_is(demo: Demo) -> None:
    for method, record in demo.records.items():
        (line,) = (x for x in demo.output.splitlines() if x.split()[:1] == [method])
        assert line.split()[1:] == ["1", f"{record.acc:.2f}", f"{record.bwt:.2f}"]
    assert f"The same over time: {demo.folder / 'average-accuracy.png'}" in demo.output


def test_sgd_forgets_and_rgo_does_not(demo: Demo) -> None:
    sgd, rgo = demo.records["sgd"], demo.records["rgo"]
    assert sgd.bwt < -40
    assert rgo.bwt > -3
    assert rgo.acc > sgd.acc + 40


def test_rgo_is_about_as_good_as_a_network_for_every_task(demo: Demo) -> None:
    assert abs(demo.records["rgo"].acc - demo.records["stl"].acc) < 3
    assert demo.records["stl"].bwt == 0


def test_without_the_encoding_it_forgets_more_but_less_than_sgd(demo: Demo) -> None:
    records = demo.records
    assert records["sgd"].acc + 10 < records["rgo-2"].acc < records["rgo"].acc - 10


def test_all_methods_learn_the_first_task_well(demo: Demo) -> None:
    first = np.array([record.matrix[0, 0] for record in demo.records.values()])
    assert first.min() > 90
