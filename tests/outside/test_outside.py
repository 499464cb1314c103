"""What a user's file sees of the packages: it runs, and mypy checks it strictly."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# What is not ours counts as Any here, which takes seconds; `make lint` reads all.
SETTINGS = """
[mypy]
strict = true
follow_imports = skip
disallow_untyped_decorators = false
[mypy-rgo_core.*,rgo_torch.*,rgo_jax.*,user_file,wrong_uses]
follow_imports = normal
[mypy-optax.*,scipy.*,array_api_compat.*]
ignore_missing_imports = true
"""


def test_the_file_of_a_user_remembers_with_both_backends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("jax")
    pytest.importorskip("torch")
    script = str(HERE / "user_file.py")
    monkeypatch.setattr(sys, "argv", [script])
    runpy.run_path(script, run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    packages = ["rgo_torch", "rgo_jax", "rgo_core"]
    assert [line.partition(":")[0] for line in lines] == packages


@pytest.fixture(scope="module")
def mypy(tmp_path_factory: pytest.TempPathFactory):
    """Return what runs `mypy --strict` outside of the checkout: its exit and output."""
    pytest.importorskip("mypy")
    folder = tmp_path_factory.mktemp("mypy")
    (folder / "mypy.ini").write_text(SETTINGS)
    # As the tests find the packages; mypy looks for their py.typed then.
    path = os.pathsep.join(filter(None, sys.path))

    def run(*files: Path) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", *files],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": path, "MYPYPATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_mypy_takes_right_uses_and_names_every_wrong_one(mypy, tmp_path: Path) -> None:
    wrong = HERE / "wrong_uses.py"
    found = mypy(HERE / "user_file.py", wrong)
    assert found[0] == 0, found[1]
    # The same mistakes without their marks.
    bare = tmp_path / "wrong_uses.py"
    marks = re.findall(r"  # type: ignore\[([\w-]+)\]", wrong.read_text())
    bare.write_text(re.sub(r"  # type: ignore.*", "", wrong.read_text()))
    code, output = mypy(bare)
    assert code == 1
    errors = re.findall(r"wrong_uses\.py:\d+: error: .*\[([\w-]+)\]$", output, re.M)
    assert errors == marks
    assert len(marks) > 10
