"""The measurements of benchmarks/gpu, as far as a CPU can make them."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from rgo_bench.records import read_records

FOLDER = Path(__file__).parents[2] / "benchmarks" / "gpu"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_dry_run_goes_through_every_phase(tmp_path: Path) -> None:
    words = [sys.executable, str(FOLDER / "measure.py"), "--out", str(tmp_path)]
    done = subprocess.run(
        [*words, "--dry-run"], capture_output=True, text=True, check=False
    )
    logs = "\n".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    found = json.loads((tmp_path / "phases.json").read_text())
    assert list(found) == ["tests", "steps", "memory", "cells"]
    assert all(result.startswith("done in ") for result in found.values()), found
    steps = json.loads((tmp_path / "steps.json").read_text())
    assert [row["backend"] for row in steps["rows"]] == ["torch", "jax"]
    assert steps["left_out"] == []
    assert steps["environment"]["device"] == "cpu"
    (memory,) = json.loads((tmp_path / "memory.json").read_text())["rows"]
    assert memory["observe"] > 0
    cell = json.loads((tmp_path / "cells" / "rgo-lenet-5.json").read_text())
    assert (cell["tasks"], len(cell["accuracy"])) == (2, 2)
    (record,) = read_records(tmp_path / "records")
    assert record.acc == pytest.approx(cell["acc"], abs=0.01)


def test_what_a_machine_lacks_is_copied_from_packages_that_hold_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = script("measure")
    find = importlib.util.find_spec
    lacking = list(measure.COPIES)

    def lack(name: str) -> object:
        return None if name in lacking else find(name)

    monkeypatch.setattr(importlib.util, "find_spec", lack)
    measure.provide(tmp_path)
    for package in lacking:
        assert (tmp_path / package / "__init__.py").is_file()
    code = "import array_api_compat, rgo_torch; from importlib.metadata import version;"
    code += "print(array_api_compat.__file__, version('rgo'))"
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{FOLDER.parents[1] / 'backends'}")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"{tmp_path}/array_api_compat/__init__.py 0.")


def test_a_package_that_nothing_holds_is_asked_for() -> None:
    message = "expected the package nothing_at_all, or a copy of it in numpy, got neith"
    with pytest.raises(ModuleNotFoundError, match=message):
        script("measure")._copy_of("nothing_at_all", ("numpy",))


def test_parts_are_small_and_make_the_files_again(tmp_path: Path) -> None:
    shards = script("shards")
    source, parts, made = (tmp_path / name for name in ("source", "parts", "made"))
    source.mkdir()
    for name, size in zip(shards.FILES, (2500, 40), strict=True):
        (source / name).write_bytes(bytes(i % 251 for i in range(size)))
    found = shards.pack(source, parts, limit=1000)
    assert [path.stat().st_size for path in found] == [1000, 1000, 500, 40]
    shards.join(parts, made)
    for name in shards.FILES:
        assert (made / name).read_bytes() == (source / name).read_bytes()
    found[1].unlink()
    with pytest.raises(ValueError, match=r"expected all parts of train.bin, .* got 2 "):
        shards.join(parts, made)
    assert shards.LIMIT < 48 * 10**6
