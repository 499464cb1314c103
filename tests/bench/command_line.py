"""The command line in this process."""

import sys

import pytest
from typer.testing import CliRunner, Result

from rgo_bench.cli.app import app, main


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
