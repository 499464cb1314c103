"""Methods, streams and networks of one's own run as their page has them."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bench.small_settings import assert_resumes, tiny_setting
from documents import code_blocks

from rgo_bench.methods import MethodOptions, NetworkMethod
from rgo_bench.networks import mlp, register_network
from rgo_bench.runs.attempts import import_plugins
from rgo_bench.streams import STREAMS, register_stream

OWN = ["permuted-digits", "--plugin", "l2"]
SHORT = ["--set", "tasks=2", "--set", "samples=50", "--set", "epochs=1"]


def with_own_method(folder: Path, *arguments: str) -> str:
    """Return what `rgo-bench` prints in a folder with what the page registers."""
    for block in code_blocks("docs/own-method.md"):
        if name := re.match(r"# (\w+\.py)\n", block):
            (folder / name[1]).write_text(block)
    main = "from rgo_bench.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", main, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_a_method_of_one_s_own_keeps_outlives_a_break() -> None:
    _, block, _ = code_blocks("docs/own-method.md")
    scope: dict[str, Any] = {"NetworkMethod": NetworkMethod}
    exec(block, scope)
    ended, fresh = (scope["Counting"](tiny_setting(), MethodOptions()) for _ in "ab")
    assert_resumes(ended, fresh)
    assert len(fresh.seen) == 3  # of the tasks before the break too


@pytest.mark.parametrize("name", ["l2.py", "own/l2", "./l2"])
def test_a_path_is_no_name_of_a_plugin(name: str) -> None:
    message = f"--plugin: expected the name of a module, .* got the path {name!r}"
    with pytest.raises(ValueError, match=message):
        import_plugins([name])


@pytest.mark.parametrize(("jobs", "methods"), [("1", "l2,sgd"), ("2", "l2")])
def test_a_method_of_one_s_own_runs(jobs: str, methods: str, tmp_path: Path) -> None:
    with_own_method(tmp_path, "run", *OWN, "--method", methods, *SHORT, "--jobs", jobs)
    assert len(list(tmp_path.rglob("l2/**/seed-0.json"))) == 1


@pytest.mark.parametrize(
    "command", ["orders --orders 2", "orders --orders 2 --jobs 2", "cost --repeats 1"]
)
def test_a_method_of_one_s_own_is_measured(command: str, tmp_path: Path) -> None:
    name, *more = command.split()
    shown = with_own_method(tmp_path, name, *OWN, "--method", "l2", *SHORT, *more)
    assert sum(line.split()[:1] == ["l2"] for line in shown.splitlines()) == 1


def test_a_method_of_one_s_own_is_compared_by_its_records(tmp_path: Path) -> None:
    with_own_method(tmp_path, "run", *OWN, "--method", "l2", *SHORT)
    asked = ["--stream", "permuted-digits", "--method", "l2", "--tasks", "2"]
    shown = with_own_method(tmp_path, "compare", "results", *asked)
    assert sum(line.split()[:1] == ["l2"] for line in shown.splitlines()) == 1


def test_a_stream_and_a_network_of_one_s_own_run(tmp_path: Path) -> None:
    own = ["patterned-digits", "--plugin", "patterned", "--method", "rgo,sgd"]
    shown = with_own_method(tmp_path, "run", *own, *SHORT, "--network", "wide,mlp")
    assert "patterned-digits (wide, torch)" in shown
    records = sorted(tmp_path.rglob("patterned-digits/**/seed-0.json"))
    assert len(records) == 4  # two methods, two networks
    again = with_own_method(tmp_path, "run", *own, *SHORT, "--jobs", "2")
    assert again.count("patterned-digits") == shown.count("(wide, torch)")


def test_streams_and_networks_of_one_s_own_have_new_names() -> None:
    with pytest.raises(
        ValueError, match="network: expected a new name, got 'mlp', whi"
    ):
        register_network("mlp", mlp)
    name = "permuted-digits"
    with pytest.raises(ValueError, match=f"stream: expected a new name, got '{name}'"):
        register_stream(name, STREAMS[name])
