"""What contributors and CI rely on: workflows, hooks, and the commands they name."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))


def jobs(path: Path) -> dict:
    return yaml.safe_load(path.read_text())["jobs"]


def matrix(workflow: str, job: str) -> dict[str, list[str]]:
    return jobs(ROOT / f".github/workflows/{workflow}.yml")[job]["strategy"]["matrix"]


def made(steps: list[dict]) -> list[str]:
    """Return the targets of make that steps name."""
    runs = [step["run"] for step in steps if "run" in step]
    assert all(run.startswith("make ") for run in runs)
    return [run.split()[1] for run in runs]


def test_there_are_workflows_for_tests_documentation_and_wheels() -> None:
    assert [path.stem for path in WORKFLOWS] == ["docs", "tests", "wheels"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_what_the_makefile_has(path: Path) -> None:
    # YAML reads a bare `on` as true.
    assert {"push", "pull_request"} <= set(yaml.safe_load(path.read_text())[True])
    for job in jobs(path).values():
        used = [step["uses"] for step in job["steps"] if "uses" in step]
        assert used[0].startswith("actions/checkout@")
        assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", name) for name in used)
        targets = made(job["steps"])
        assert targets
        assert set(targets) <= TARGETS


def test_every_python_that_the_package_names_is_tested_with_old_and_new_torch() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    named = re.findall(r"Python :: (3\.\d+)", project)
    versions, wheels = matrix("tests", "versions"), matrix("wheels", "try")
    sessions = (ROOT / "tests/noxfile.py").read_text()
    listed = re.search(r"^PYTHONS = \[(.*)\]", sessions, re.M)[1]
    assert versions["python"] == wheels["python"] == named
    assert re.findall(r"[\d.]+", listed) == named
    assert {"oldest", "newest"} == set(versions["versions"])
    # The oldest that pyproject.toml takes.
    least = dict(re.findall(r'"(torch|jax)>=([\d.]+)"', project))
    tried = dict(re.findall(r'"(torch|jax)==([\d.]+)"', sessions))
    assert {name: tried[name].removesuffix(".0") for name in tried} == least


def test_nox_finds_the_sessions_that_the_workflow_names() -> None:
    pytest.importorskip("nox")
    command = [sys.executable, "-m", "nox", "-f", ROOT / "tests/noxfile.py", "--list"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    listed = set(re.findall(r"^[*-] (\S+)", done.stdout, re.M))
    versions = matrix("tests", "versions")
    named = {
        f"{v}-{python}" for v in versions["versions"] for python in versions["python"]
    }
    assert named <= listed


def test_the_hooks_run_the_tools_that_the_makefile_runs() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (local,) = hooks["repos"]
    entries = {hook["id"]: hook["entry"] for hook in local["hooks"]}
    assert list(entries) == ["ruff", "ruff-format", "mypy"]
    lint = (ROOT / "Makefile").read_text().replace("$(BIN)", ".venv/bin")
    for entry in entries.values():
        tool = re.match(r"\.venv/bin/(ruff check|ruff format|mypy)", entry)[0]
        assert f"\t{tool}" in lint


def test_contributing_is_told_in_one_place() -> None:
    page = (ROOT / ".github/CONTRIBUTING.md").read_text()
    (target,) = re.findall(r"\]\((.+?)\)", page)
    assert (ROOT / ".github" / target).resolve() == ROOT / "docs/contributing.md"


def test_every_make_target_in_the_documentation_exists() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "\n".join(page.read_text() for page in pages)
    named = set(re.findall(r"(?:^\$ |`)make ([a-z-]+)", text, re.M))
    assert {"demo", "test", "versions", "try-wheel"} <= named <= TARGETS
