from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("peft")
pytest.importorskip("transformers")
from bench.lora.small_body import put

from rgo_bench.cli.app import app
from rgo_bench.zoo.record import read_zoo_records

# Theirs.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def test_adapters_learn_are_recorded_and_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(monkeypatch)
    asked = ["lora", "--method", "lora,rgo", "--steps", "2", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, [*asked, "--set", "damping=0.5"])
    assert result.exit_code == 0, result.output
    assert "Task after task, one adapter" in result.output
    plain, rgo = read_zoo_records(tmp_path, "lora")
    assert (plain.options, rgo.options) == ({}, {"damping": 0.5})
    picture = tmp_path / "picture.svg"
    drawn = ["--set", "damping=0.5", "--plot", str(picture)]
    again = CliRunner().invoke(app, [*asked, *drawn])
    assert "modules lora 0" not in again.output
    assert "minilm-modules" in picture.read_text()
    shown = CliRunner().invoke(app, ["table", str(tmp_path)])
    assert "damping=0.5" in shown.output  # where a wide table may break the line


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("--stream", "novels"), "--stream: expected one of modules, .*, got novels"),
        (("--method", "gem"), "--method: expected one of lora, .*, got gem"),
        (("--set", "x=1"), "--set: expected options of RGO, .*, got x"),
    ],
)
def test_what_there_is_not_is_refused(asked: tuple[str, ...], message: str) -> None:
    result = CliRunner().invoke(app, ["lora", *asked])
    with pytest.raises(ValueError, match=message):
        raise result.exception or AssertionError(result.output)
