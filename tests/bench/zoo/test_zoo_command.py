from pathlib import Path

import pytest
from bench.zoo.sample_zoo import zoo_record
from typer.testing import CliRunner

from rgo_bench.cli.app import app
from rgo_bench.zoo.record import read_zoo_records, write_zoo_record

SHORT = ("zoo", "--model", "mixer", "--steps", "2")


def test_the_zoo_runs_records_and_prints_its_table(tmp_path: Path) -> None:
    asked = [*SHORT, "--method", "plain,rgo", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, [*asked, "--set", "damping=0.5"])
    assert result.exit_code == 0, result.output
    plain, rgo = sorted(read_zoo_records(tmp_path), key=lambda r: r.method)
    assert (plain.options, rgo.options) == ({}, {"damping": 0.5})
    assert "Three tasks, one head" in result.output


def test_a_run_that_is_recorded_is_not_run_again(tmp_path: Path) -> None:
    training = {"steps": 2, "batch": 16, "lr": 0.001}
    accuracy = [[12.3], [12.3, 45.6], [12.3, 45.6, 78.9]]
    known = zoo_record(accuracy=accuracy, training=training)
    write_zoo_record(tmp_path, known)
    asked = [*SHORT, "--method", "plain", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, [*asked, "--format", "csv"])
    assert result.exit_code == 0, result.output
    assert read_zoo_records(tmp_path) == [known]
    assert CliRunner().invoke(app, [*asked, "--force"]).exit_code == 0
    assert read_zoo_records(tmp_path) != [known]


def test_a_record_of_more_steps_does_not_stand_for_fewer(tmp_path: Path) -> None:
    write_zoo_record(tmp_path, zoo_record())
    asked = [*SHORT, "--method", "plain", "--out", str(tmp_path)]
    assert CliRunner().invoke(app, asked).exit_code == 0
    (record,) = read_zoo_records(tmp_path)
    assert record.training["steps"] == 2


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("--model", "resnext"), "^--model: expected one of vit, .*, got resnext$"),
        (("--method", "ewc"), "^--method: expected one of plain, .*, got ewc$"),
        (("--set", "x=1"), "--set: expected options of RGO, .*, got x"),
        (("--set", "seed=1"), "--set: expected options of RGO, .*, got seed"),
    ],
)
def test_what_the_zoo_has_not_is_refused(asked: tuple[str, ...], message: str) -> None:
    result = CliRunner().invoke(app, ["zoo", *asked])
    with pytest.raises(ValueError, match=message):
        raise result.exception or AssertionError(result.output)


def test_records_of_the_zoo_are_printed_as_a_table(tmp_path: Path) -> None:
    write_zoo_record(tmp_path, zoo_record())
    result = CliRunner().invoke(app, ["table", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "mixer plain" in result.output
